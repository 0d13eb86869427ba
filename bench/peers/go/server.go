// Go's net/http: a goroutine for each request, which may wait as it likes.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

const many = 20000

var client = &http.Client{Transport: &http.Transport{
	MaxIdleConns: many, MaxIdleConnsPerHost: many,
}}

// Connections to the cache that wait for the next question.
var idle = make(chan *link, many)

type link struct {
	net.Conn
	lines *bufio.Reader
}

func pass(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := client.Get("http://" + os.Getenv("ORIGIN") + path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Length", strconv.FormatInt(answer.ContentLength, 10))
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	}
}

func takeLink() (*link, error) {
	select {
	case l := <-idle:
		return l, nil
	default:
	}
	conn, err := net.Dial("tcp", os.Getenv("CACHE"))
	if err != nil {
		return nil, err
	}
	return &link{conn, bufio.NewReader(conn)}, nil
}

// The value of that key; nil if there is none.
func askCache(l *link, key string) ([]byte, error) {
	if _, err := fmt.Fprintf(l, "get %s\r\n", key); err != nil {
		return nil, err
	}
	line, err := l.lines.ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 4 {
		return nil, err
	}
	n, err := strconv.Atoi(words[3])
	if err != nil {
		return nil, err
	}
	text := make([]byte, n+len("\r\nEND\r\n"))
	if _, err := io.ReadFull(l.lines, text); err != nil {
		return nil, err
	}
	return text[:n], nil
}

func cache(w http.ResponseWriter, r *http.Request) {
	l, err := takeLink()
	if err == nil {
		var value []byte
		value, err = askCache(l, "foo")
		if err == nil && value != nil {
			idle <- l
			w.Write(value)
			return
		}
		l.Close()
	}
	http.Error(w, fmt.Sprint("no value: ", err), http.StatusBadGateway)
}

func main() {
	http.HandleFunc("/sync", pass("/"))
	http.HandleFunc("/async", pass("/"))
	http.HandleFunc("/login/", pass("/status/200"))
	http.HandleFunc("/cache", cache)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
