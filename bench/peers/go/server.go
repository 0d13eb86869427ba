// Go's net/http: a goroutine for each request, which may block.
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

// Idle connections to the cache.
var idle = make(chan *link, many)

type link struct {
	net.Conn
	lines *bufio.Reader
}

func forward(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		response, err := client.Get("http://" + os.Getenv("ORIGIN") + path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
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

// The value of a key; nil if there is none.
func cacheGet(l *link, key string) ([]byte, error) {
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
		value, err = cacheGet(l, "foo")
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
	http.HandleFunc("/sync", forward("/"))
	http.HandleFunc("/async", forward("/"))
	http.HandleFunc("/login/", forward("/status/200"))
	http.HandleFunc("/cache", cache)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
