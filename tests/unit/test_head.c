#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../src/http/field.h"
#include "http/head.h"
#include "lib/guard.h"

/* A head and its parsed contents as text (see meaning_print()), or a fault. */
struct head_case {
	struct slice input;
	enum fault fault;
	const char *meaning;
	struct head_limits limits; /* 0: large ones */
};

/* clang-format off */
#define INPUT(text) .input = { text, sizeof(text) - 1 }
#define LIMITS(...) .limits = { __VA_ARGS__ }
#define GOOD(text, words) { INPUT(text), .meaning = words }
#define BAD(text, name) { INPUT(text), .fault = FAULT_##name }
#define FITS(text, words, ...) { INPUT(text), .meaning = words, LIMITS(__VA_ARGS__) }
#define LIMIT(text, name, ...) { INPUT(text), .fault = FAULT_##name, LIMITS(__VA_ARGS__) }
/* clang-format on */
/* A request line; the lines of a field section after Host. */
#define LINE(line) line "\r\nHost: h\r\n\r\n"
#define FIELDS(lines) "GET / HTTP/1.1\r\nHost: h\r\n" lines "\r\n"
#define FIELDS_1_0(lines) "GET / HTTP/1.0\r\nHost: h\r\n" lines "\r\n"
#define HOST(value) "GET / HTTP/1.1\r\nHost:" value "\r\n\r\n"
#define RESPONSE(lines) "HTTP/1.1 200 OK\r\n" lines "\r\n"

/* The parsed contents of most cases. */
#define REST "@h 1.1 none keep {=Host:h}"
#define PLAIN "GET 0 origin /  " REST

static const struct head_case requests[] = {
	/* Request lines: methods. */
	GOOD(LINE("GET / HTTP/1.1"), PLAIN),
	GOOD(LINE("HEAD /a HTTP/1.1"), "HEAD 1 origin /a  " REST),
	GOOD(LINE("POST /a/b HTTP/1.0"), "POST 2 origin /a/b  @h 1.0 none {=Host:h}"),
	GOOD(LINE("PUT / HTTP/1.1"), "PUT 3 origin /  " REST),
	GOOD(LINE("DELETE / HTTP/1.1"), "DELETE 4 origin /  " REST),
	GOOD(LINE("PATCH / HTTP/1.1"), "PATCH 8 origin /  " REST),
	GOOD(LINE("TRACE / HTTP/1.1"), "TRACE 7 origin /  " REST),
	GOOD(LINE("get / HTTP/1.1"), "get -1 origin /  " REST),
	GOOD(LINE("QUERY / HTTP/1.1"), "QUERY -1 origin /  " REST),
	GOOD(LINE("VERSION-CONTROL / HTTP/1.1"), "VERSION-CONTROL -1 origin /  " REST),
	GOOD(LINE("!#$%&'*+-.^_`|~09aZ / HTTP/1.1"),
	     "!#$%&'*+-.^_`|~09aZ -1 origin /  " REST),
	BAD(LINE("G(T / HTTP/1.1"), METHOD),
	BAD(LINE("GET\t/ HTTP/1.1"), METHOD),
	BAD(LINE("G\xc3T / HTTP/1.1"), METHOD),
	BAD(LINE("{} / HTTP/1.1"), METHOD),
	BAD(LINE(" / HTTP/1.1"), REQUEST_LINE),
	BAD(LINE(" GET / HTTP/1.1"), REQUEST_LINE),
	BAD(LINE("GET"), REQUEST_LINE),
	BAD(LINE("GET "), REQUEST_LINE),
	BAD(LINE("GET /"), REQUEST_LINE),
	BAD(LINE("GET / "), REQUEST_LINE),
	BAD(LINE("GET HTTP/1.1"), REQUEST_LINE),
	BAD(LINE("GET  HTTP/1.1"), REQUEST_LINE),
	BAD(LINE("GET  / HTTP/1.1"), REQUEST_LINE),
	BAD(LINE("GET /  HTTP/1.1"), REQUEST_LINE),
	BAD(LINE("GET / HTTP/1.1 "), REQUEST_LINE),
	BAD(LINE("GET /a b HTTP/1.1"), REQUEST_LINE),
	/* Versions. */
	GOOD(LINE("GET / HTTP/1.2"), PLAIN),
	GOOD(LINE("GET / HTTP/1.9"), PLAIN),
	BAD(LINE("GET / HTTP/2.0"), VERSION),
	BAD(LINE("GET / HTTP/0.9"), VERSION),
	BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
	BAD(LINE("GET / HTTP/1.10"), REQUEST_LINE),
	BAD(LINE("GET / HTTP/11"), REQUEST_LINE),
	BAD(LINE("GET / HTTP/1"), REQUEST_LINE),
	BAD(LINE("GET / HTTP/1,1"), REQUEST_LINE),
	BAD(LINE("GET / HTTP/x.1"), REQUEST_LINE),
	BAD(LINE("GET / http/1.1"), REQUEST_LINE),
	BAD(LINE("GET / HTTPS/1.1"), REQUEST_LINE),
	BAD(LINE("GET /\tHTTP/1.1"), REQUEST_LINE),
	/* Targets: origin form. */
	GOOD(LINE("GET /a?b=1&c HTTP/1.1"), "GET 0 origin /a ?b=1&c " REST),
	GOOD(LINE("GET /? HTTP/1.1"), "GET 0 origin / ? " REST),
	GOOD(LINE("GET /a??b HTTP/1.1"), "GET 0 origin /a ??b " REST),
	GOOD(LINE("GET //evil/%7e%7E/%2f/../. HTTP/1.1"),
	     "GET 0 origin //evil/%7e%7E/%2f/../.  " REST),
	GOOD(LINE("GET /a|b{c}\"<>\\^` HTTP/1.1"), "GET 0 origin /a|b{c}\"<>\\^`  " REST),
	GOOD(LINE("GET /?100% HTTP/1.1"), "GET 0 origin / ?100% " REST),
	GOOD(LINE("GET /@:8080 HTTP/1.1"), "GET 0 origin /@:8080  " REST),
	BAD(LINE("GET /% HTTP/1.1"), TARGET),
	BAD(LINE("GET /%2 HTTP/1.1"), TARGET),
	BAD(LINE("GET /%g0 HTTP/1.1"), TARGET),
	BAD(LINE("GET /a%20%4?x HTTP/1.1"), TARGET),
	BAD(LINE("GET /%2?0 HTTP/1.1"), TARGET),
	BAD(LINE("GET /a#b HTTP/1.1"), TARGET),
	BAD(LINE("GET /?a#b HTTP/1.1"), TARGET),
	BAD(LINE("GET /\xc3\xa4 HTTP/1.1"), TARGET),
	BAD(LINE("GET /a\tb HTTP/1.1"), TARGET),
	BAD(LINE("GET a HTTP/1.1"), TARGET),
	BAD(LINE("GET ?a HTTP/1.1"), TARGET),
	BAD(LINE("GET \\a HTTP/1.1"), TARGET),
	BAD(LINE("GET h:80 HTTP/1.1"), TARGET),
	/* Absolute form: the authority overrides Host. */
	GOOD(LINE("GET http://a.example/x?y HTTP/1.1"),
	     "GET 0 absolute /x ?y @a.example 1.1 none keep {=Host:h}"),
	GOOD(LINE("GET HTTPS://a:8443/ HTTP/1.1"),
	     "GET 0 absolute /  @a:8443 1.1 none keep {=Host:h}"),
	GOOD(LINE("GET http://a HTTP/1.1"),
	     "GET 0 absolute /  @a 1.1 none keep {=Host:h}"),
	GOOD(LINE("GET http://a?q HTTP/1.1"),
	     "GET 0 absolute / ?q @a 1.1 none keep {=Host:h}"),
	GOOD(LINE("OPTIONS http://a:1 HTTP/1.1"),
	     "OPTIONS 6 absolute *  @a:1 1.1 none keep {=Host:h}"),
	GOOD(LINE("OPTIONS http://a/ HTTP/1.1"),
	     "OPTIONS 6 absolute /  @a 1.1 none keep {=Host:h}"),
	GOOD(LINE("OPTIONS http://a?q HTTP/1.1"),
	     "OPTIONS 6 absolute / ?q @a 1.1 none keep {=Host:h}"),
	GOOD(LINE("GET http://[::1]:80/ HTTP/1.1"),
	     "GET 0 absolute /  @[::1]:80 1.1 none keep {=Host:h}"),
	GOOD("GET http://a/ HTTP/1.0\r\n\r\n", "GET 0 absolute /  @a 1.0 none"),
	BAD("GET http://a/ HTTP/1.1\r\n\r\n", HOST_MISSING),
	BAD("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", HOST),
	BAD(LINE("GET http:/// HTTP/1.1"), TARGET),
	BAD(LINE("GET http:// HTTP/1.1"), TARGET),
	BAD(LINE("GET http:/a HTTP/1.1"), TARGET),
	BAD(LINE("GET http://u@a/ HTTP/1.1"), TARGET),
	BAD(LINE("GET http://u:p@a/ HTTP/1.1"), TARGET),
	BAD(LINE("GET http://a:80:80/ HTTP/1.1"), TARGET),
	BAD(LINE("GET http://a:65536/ HTTP/1.1"), TARGET),
	BAD(LINE("GET http://a/%zz HTTP/1.1"), TARGET),
	BAD(LINE("GET http://a\\b/ HTTP/1.1"), TARGET),
	BAD(LINE("GET ftp://a/ HTTP/1.1"), TARGET),
	/* Authority and asterisk form. */
	GOOD(LINE("CONNECT a.example:443 HTTP/1.1"),
	     "CONNECT 5 authority   @a.example:443 1.1 none keep {=Host:h}"),
	GOOD(LINE("CONNECT [2001:db8::1]:443 HTTP/1.1"),
	     "CONNECT 5 authority   @[2001:db8::1]:443 1.1 none keep {=Host:h}"),
	GOOD(LINE("OPTIONS * HTTP/1.1"), "OPTIONS 6 asterisk *  " REST),
	BAD(LINE("CONNECT a.example HTTP/1.1"), TARGET),
	BAD(LINE("CONNECT a.example: HTTP/1.1"), TARGET),
	BAD(LINE("CONNECT [::1] HTTP/1.1"), TARGET),
	BAD(LINE("CONNECT / HTTP/1.1"), TARGET),
	BAD(LINE("CONNECT http://a:1/ HTTP/1.1"), TARGET),
	BAD(LINE("GET * HTTP/1.1"), TARGET),
	BAD(LINE("OPTIONS ** HTTP/1.1"), TARGET),
	/* Empty lines before the request line. */
	GOOD("\r\n" LINE("GET / HTTP/1.1"), PLAIN),
	GOOD("\r\n\r\n\r\n" LINE("GET / HTTP/1.1"), PLAIN),
	BAD("\n" LINE("GET / HTTP/1.1"), BARE_LF),
	BAD("\r" LINE("GET / HTTP/1.1"), BARE_CR),
	/* Octets that are not allowed in any head. */
	BAD("GET / HTTP/1.1\nHost: h\n\n", BARE_LF),
	BAD("GET / HTTP/1.1\r\nHost: h\n\r\n", BARE_LF),
	BAD("GET / HTTP/1.1\r\nHost: h\r\n\n", BARE_LF),
	BAD("GET / HTTP/1.1\rHost: h\r\n\r\n", BARE_CR),
	BAD("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", BARE_CR),
	BAD("GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", BARE_CR),
	BAD("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", BARE_CR),
	BAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc", CONTROL),
	BAD(LINE("GET /\0 HTTP/1.1"), CONTROL),
	BAD(LINE("GET /\x7f HTTP/1.1"), CONTROL),
	BAD(FIELDS("A: b\0c\r\n"), CONTROL),
	BAD(FIELDS("A: \x01\r\n"), CONTROL),
	BAD(FIELDS("A: \x1f\r\n"), CONTROL),
	BAD(FIELDS("A: \x7f\r\n"), CONTROL),
	BAD(FIELDS("A\x0b: b\r\n"), CONTROL),
	/* The first fault in byte order is reported. */
	BAD("G(T / HTTP/1.1\r\nHost: h\x01\r\n\r\n", METHOD),
	BAD("GET / HTTP/1.1\r\n A: b\r\nA: \x01\r\n\r\n", CONTROL),
	/* Field lines. */
	GOOD(FIELDS("A:b\r\n"), PLAIN " {A:b}"),
	GOOD(FIELDS("A:\r\nB: \r\nC:\t \t\r\nD: d\r\n"), PLAIN " {A:} {B:} {C:} {D:d}"),
	GOOD(FIELDS("A: \t b \t c \t \r\n"), PLAIN " {A:b \t c}"),
	GOOD(FIELDS("A: \x80\xff\xc3\xa4\r\n"), PLAIN " {A:\x80\xff\xc3\xa4}"),
	GOOD(FIELDS("!#$%&'*+-.^_`|~09aZ: x\r\n"), PLAIN " {!#$%&'*+-.^_`|~09aZ:x}"),
	GOOD(FIELDS("A: :b: c\r\n"), PLAIN " {A::b: c}"),
	GOOD(FIELDS("A: 1\r\nB: 2\r\nA: 3\r\na: 4\r\n"),
	     PLAIN " {A:1} {B:2} {A:3} {a:4}"),
	GOOD(FIELDS("Cookie: a=b; c=\"d\"\r\nX: \"a, \\\"b\"\r\n"),
	     PLAIN " {=Cookie:a=b; c=\"d\"} {X:\"a, \\\"b\"}"),
	BAD(FIELDS("A : b\r\n"), FIELD_COLON),
	BAD(FIELDS("A\t: b\r\n"), FIELD_COLON),
	BAD(FIELDS("Transfer-Encoding : chunked\r\n"), FIELD_COLON),
	BAD(FIELDS("A: b\r\n c\r\n"), FIELD_FOLD),
	BAD(FIELDS("A: b\r\n\tc\r\n"), FIELD_FOLD),
	BAD(FIELDS("A: b\r\n \r\n"), FIELD_FOLD),
	BAD("GET / HTTP/1.1\r\n Host: h\r\n\r\n", FIELD_FOLD),
	BAD(FIELDS(": b\r\n"), FIELD_NAME),
	BAD(FIELDS("A\r\n"), FIELD_NAME),
	BAD(FIELDS("A b: c\r\n"), FIELD_NAME),
	BAD(FIELDS("A\r\nB: c\r\n"), FIELD_NAME),
	BAD(FIELDS("A(): b\r\n"), FIELD_NAME),
	BAD(FIELDS("A\xc3\xa4: b\r\n"), FIELD_NAME),
	BAD(FIELDS("A\"b\": c\r\n"), FIELD_NAME),
	BAD(FIELDS("[A]: c\r\n"), FIELD_NAME),
	/* Host. */
	GOOD(HOST("a.example"),
	     "GET 0 origin /  @a.example 1.1 none keep {=Host:a.example}"),
	GOOD(HOST(" a.example:8080 "),
	     "GET 0 origin /  @a.example:8080 1.1 none keep {=Host:a.example:8080}"),
	GOOD(HOST(" A-b_c~d!$&'()*+,;=1"),
	     "GET 0 origin /  @A-b_c~d!$&'()*+,;=1 1.1 none keep "
	     "{=Host:A-b_c~d!$&'()*+,;=1}"),
	GOOD(HOST(" a%41:"), "GET 0 origin /  @a%41: 1.1 none keep {=Host:a%41:}"),
	GOOD(HOST(" 127.0.0.1:65535"),
	     "GET 0 origin /  @127.0.0.1:65535 1.1 none keep {=Host:127.0.0.1:65535}"),
	GOOD(HOST(" [::]"), "GET 0 origin /  @[::] 1.1 none keep {=Host:[::]}"),
	GOOD(HOST(" [2001:DB8:0:0:0:0:0:1]:80"),
	     "GET 0 origin /  @[2001:DB8:0:0:0:0:0:1]:80 1.1 none keep "
	     "{=Host:[2001:DB8:0:0:0:0:0:1]:80}"),
	GOOD(HOST(" [::ffff:192.0.2.1]"),
	     "GET 0 origin /  @[::ffff:192.0.2.1] 1.1 none keep "
	     "{=Host:[::ffff:192.0.2.1]}"),
	GOOD(HOST(" [1:2:3:4:5:6:7::]"),
	     "GET 0 origin /  @[1:2:3:4:5:6:7::] 1.1 none keep "
	     "{=Host:[1:2:3:4:5:6:7::]}"),
	GOOD(HOST(" [1:2:3:4:5:6:1.2.3.4]"),
	     "GET 0 origin /  @[1:2:3:4:5:6:1.2.3.4] 1.1 none keep "
	     "{=Host:[1:2:3:4:5:6:1.2.3.4]}"),
	/* Max-Forwards, for the two methods that define it. */
#define FORWARDS(method, lines) method " / HTTP/1.1\r\nHost: h\r\n" lines "\r\n"
	GOOD(FORWARDS("OPTIONS", "Max-Forwards: 0\r\n"),
	     "OPTIONS 6 origin /  @h 1.1 none keep forwards=0 {=Host:h} {=Max-Forwards:0}"),
	GOOD(FORWARDS("TRACE", "max-forwards: 0010\r\n"),
	     "TRACE 7 origin /  @h 1.1 none keep forwards=10 {=Host:h} {=max-forwards:0010}"),
	GOOD(FORWARDS("TRACE", "Max-Forwards: 99999999999999999999999999\r\n"),
	     "TRACE 7 origin /  @h 1.1 none keep forwards=1000000 "
	     "{=Host:h} {=Max-Forwards:99999999999999999999999999}"),
	GOOD(FORWARDS("GET", "Max-Forwards: x\r\nMax-Forwards: 0\r\n"),
	     "GET 0 origin /  @h 1.1 none keep {=Host:h} {=Max-Forwards:x} {=Max-Forwards:0}"),
	BAD(FORWARDS("OPTIONS", "Max-Forwards:\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("OPTIONS", "Max-Forwards: -1\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("OPTIONS", "Max-Forwards: +1\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("OPTIONS", "Max-Forwards: 1, 1\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("OPTIONS", "Max-Forwards: 0x1\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("TRACE", "Max-Forwards: 1 2\r\n"), MAX_FORWARDS),
	BAD(FORWARDS("TRACE", "Max-Forwards: 1\r\nMax-Forwards: 1\r\n"), MAX_FORWARDS),
	BAD(HOST(""), HOST_EMPTY),
	BAD(HOST(" \t"), HOST_EMPTY),
	BAD("GET / HTTP/1.0\r\nHost:\r\n\r\n", HOST_EMPTY),
	BAD("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", HOST_EMPTY),
	GOOD("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
	     "GET 0 absolute /  @a 1.1 none keep {=Host:}"),
	GOOD("GET / HTTP/1.0\r\n\r\n", "GET 0 origin /  @ 1.0 none"),
	GOOD("GET / HTTP/1.0\r\nhOsT: x\r\n\r\n",
	     "GET 0 origin /  @x 1.0 none {=hOsT:x}"),
	BAD("GET / HTTP/1.1\r\n\r\n", HOST_MISSING),
	BAD("GET / HTTP/1.1\r\nX-Host: h\r\n\r\n", HOST_MISSING),
	BAD(FIELDS("Host: h\r\n"), HOST_REPEATED),
	BAD(FIELDS("hOST:\r\n"), HOST_REPEATED),
	BAD(FIELDS_1_0("Host: h\r\n"), HOST_REPEATED),
	BAD(HOST(" a b"), HOST),
	BAD(HOST(" a/b"), HOST),
	BAD(HOST(" u@a"), HOST),
	BAD(HOST(" a:b"), HOST),
	BAD(HOST(" a:65536"), HOST),
	BAD(HOST(" a:000080"), HOST),
	BAD(HOST(" :80"), HOST),
	BAD(HOST(" a%4"), HOST),
	BAD(HOST(" \xc3\xa4"), HOST),
	BAD(HOST(" ::1"), HOST),
	BAD(HOST(" []"), HOST),
	BAD(HOST(" [::1"), HOST),
	BAD(HOST(" [::1]x"), HOST),
	BAD(HOST(" [:::]"), HOST),
	BAD(HOST(" [1:::2]"), HOST),
	BAD(HOST(" [1::2::3]"), HOST),
	BAD(HOST(" [:1::2]"), HOST),
	BAD(HOST(" [1:2:3:4:5:6:7:8:9]"), HOST),
	BAD(HOST(" [1:2:3:4:5:6:7]"), HOST),
	BAD(HOST(" [1:2:3:4:5:6:7:]"), HOST),
	BAD(HOST(" [1:2:3:4::5:6:7:8]"), HOST),
	BAD(HOST(" [12345::]"), HOST),
	BAD(HOST(" [::g]"), HOST),
	BAD(HOST(" [::1.2.3]"), HOST),
	BAD(HOST(" [::1.2.3.256]"), HOST),
	BAD(HOST(" [::01.2.3.4]"), HOST),
	BAD(HOST(" [1.2.3.4]"), HOST),
	BAD(HOST(" [fe80::1%25eth0]"), HOST),
	/* Framing. */
	GOOD(FIELDS("Content-Length: 0\r\n"),
	     "GET 0 origin /  @h 1.1 0 keep {=Host:h} {*=Content-Length:0}"),
	GOOD(FIELDS("content-length:  42 \r\n"),
	     "GET 0 origin /  @h 1.1 42 keep {=Host:h} {*=content-length:42}"),
	GOOD(FIELDS("Content-Length: 0007\r\n"),
	     "GET 0 origin /  @h 1.1 7 keep {=Host:h} {*=Content-Length:0007}"),
	GOOD(FIELDS("Content-Length: 9223372036854775807\r\n"),
	     "GET 0 origin /  @h 1.1 9223372036854775807 keep {=Host:h} "
	     "{*=Content-Length:9223372036854775807}"),
	GOOD(FIELDS_1_0("Content-Length: 3\r\n"),
	     "GET 0 origin /  @h 1.0 3 {=Host:h} {*=Content-Length:3}"),
	GOOD(FIELDS("Transfer-Encoding: chunked\r\n"),
	     "GET 0 origin /  @h 1.1 chunked keep {=Host:h} "
	     "{*=Transfer-Encoding:chunked}"),
	GOOD(FIELDS("transfer-encoding:CHUNKED \r\n"),
	     "GET 0 origin /  @h 1.1 chunked keep {=Host:h} "
	     "{*=transfer-encoding:CHUNKED}"),
	BAD(FIELDS("Content-Length:\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: -1\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: +1\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 0x1\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 1 2\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 1,1\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: \"1\"\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 1.0\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: \xd9\xa1\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 9223372036854775808\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 18446744073709551617\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 99999999999999999999999\r\n"), LENGTH),
	BAD(FIELDS("Content-Length: 1\r\nContent-Length: 1\r\n"), LENGTH_REPEATED),
	BAD(FIELDS("Content-Length: 1\r\nA: b\r\ncontent-length: 2\r\n"),
	    LENGTH_REPEATED),
	BAD(FIELDS("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), LENGTH_CODING),
	BAD(FIELDS("Transfer-Encoding: chunked\r\nContent-Length: x\r\n"), LENGTH_CODING),
	BAD(FIELDS("Transfer-Encoding: identity\r\nContent-Length: 1\r\n"),
	    LENGTH_CODING),
	BAD(FIELDS("Transfer-Encoding: gzip, chunked\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: chunked, chunked\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: chunked,\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: ,chunked\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: chunked;a=b\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: \"chunked\"\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: xchunked\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: chunke\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: identity\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding:\r\n"), CODING),
	BAD(FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
	    CODING),
	BAD(FIELDS("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), CODING),
	BAD(FIELDS_1_0("Transfer-Encoding: chunked\r\n"), CODING_1_0),
	BAD(FIELDS_1_0("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
	    CODING_1_0),
	/* Connection. */
	GOOD(FIELDS("Connection: close\r\n"),
	     "GET 0 origin /  @h 1.1 none {=Host:h} {*=Connection:close}"),
	GOOD(FIELDS("Connection: keep-alive\r\n"), PLAIN " {*=Connection:keep-alive}"),
	GOOD(FIELDS("Connection: Keep-Alive, CLOSE\r\n"),
	     "GET 0 origin /  @h 1.1 none {=Host:h} {*=Connection:Keep-Alive, CLOSE}"),
	GOOD(FIELDS("Connection: closer\r\n"), PLAIN " {*=Connection:closer}"),
	GOOD(FIELDS_1_0("Connection: keep-alive\r\nKeep-Alive: 5\r\n"),
	     "GET 0 origin /  @h 1.0 none keep {=Host:h} {*=Connection:keep-alive} "
	     "{*=Keep-Alive:5}"),
	GOOD(FIELDS_1_0("Connection: a\r\nConnection: close, keep-alive\r\n"),
	     "GET 0 origin /  @h 1.0 none {=Host:h} {*=Connection:a} "
	     "{*=Connection:close, keep-alive}"),
	GOOD(FIELDS_1_0("Proxy-Connection: keep-alive\r\n"),
	     "GET 0 origin /  @h 1.0 none {=Host:h} {*=Proxy-Connection:keep-alive}"),
	GOOD(FIELDS("Connection: ,, foo ,\t,Bar\r\nFoo: 1\r\nbar: 2\r\nbaz: 3\r\nFOO: 4\r\n"),
	     PLAIN " {*=Connection:,, foo ,\t,Bar} {*Foo:1} {*bar:2} {baz:3} {*FOO:4}"),
	GOOD(FIELDS("foo: 1\r\nConnection: foo\r\n"),
	     PLAIN " {*foo:1} {*=Connection:foo}"),
	GOOD(FIELDS("Connection: host, content-length, cookie\r\nContent-Length: 2\r\n"
		    "Cookie: a\r\n"),
	     "GET 0 origin /  @h 1.1 2 keep {=Host:h} {*=Connection:host, content-length, "
	     "cookie} {*=Content-Length:2} {*=Cookie:a}"),
	GOOD(FIELDS("Connection:\r\n"), PLAIN " {*=Connection:}"),
	BAD(FIELDS("Connection: a b\r\n"), CONNECTION),
	BAD(FIELDS("Connection: a;b\r\n"), CONNECTION),
	BAD(FIELDS("Connection: \"close\"\r\n"), CONNECTION),
	BAD(FIELDS("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,"
		   "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n"),
	    CONNECTION),
	/* Upgrade. */
	GOOD(FIELDS("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
	     "GET 0 origin /  @h 1.1 none keep upgrade=websocket {=Host:h} "
	     "{*=Connection:Upgrade} {*=Upgrade:websocket}"),
	GOOD(FIELDS("Connection: keep-alive, upgrade\r\nUpgrade: a/1, b\r\n"),
	     "GET 0 origin /  @h 1.1 none keep upgrade=a/1, b {=Host:h} "
	     "{*=Connection:keep-alive, upgrade} {*=Upgrade:a/1, b}"),
	GOOD(FIELDS("Upgrade: websocket\r\n"), PLAIN " {*=Upgrade:websocket}"),
	GOOD(FIELDS("Connection: upgrade\r\n"), PLAIN " {*=Connection:upgrade}"),
	GOOD(FIELDS("Connection: upgrade\r\nUpgrade:\r\n"),
	     PLAIN " {*=Connection:upgrade} {*=Upgrade:}"),
	GOOD(FIELDS("Connection: upgrade\r\nUpgrade: a b\r\n"),
	     PLAIN " {*=Connection:upgrade} {*=Upgrade:a b}"),
	GOOD(FIELDS("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"),
	     PLAIN " {*=Connection:upgrade} {*=Upgrade:a} {*=Upgrade:b}"),
	GOOD(FIELDS_1_0("Connection: upgrade\r\nUpgrade: websocket\r\n"),
	     "GET 0 origin /  @h 1.0 none {=Host:h} {*=Connection:upgrade} "
	     "{*=Upgrade:websocket}"),
	GOOD(FIELDS("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
		    "HTTP2-Settings: AAMA\r\n"),
	     PLAIN
	     " {*=Connection:Upgrade, HTTP2-Settings} {*=Upgrade:h2c} {*=HTTP2-Settings:AAMA}"),
	GOOD(FIELDS("Connection: upgrade\r\nUpgrade: websocket, H2C\r\n"),
	     PLAIN " {*=Connection:upgrade} {*=Upgrade:websocket, H2C}"),
	/* Expect and TE. */
	GOOD(FIELDS("Expect: 100-Continue\r\nContent-Length: 1\r\n"),
	     "GET 0 origin /  @h 1.1 1 keep continue {=Host:h} {=Expect:100-Continue} "
	     "{*=Content-Length:1}"),
	GOOD(FIELDS("Expect: a=b\r\n"), PLAIN " {=Expect:a=b}"),
	GOOD(FIELDS_1_0("Expect: 100-continue\r\n"),
	     "GET 0 origin /  @h 1.0 none {=Host:h} {=Expect:100-continue}"),
	GOOD(FIELDS("TE: trailers\r\nConnection: TE\r\nTrailer: A\r\n"),
	     "GET 0 origin /  @h 1.1 none keep trailers {=Host:h} {*=TE:trailers} "
	     "{*=Connection:TE} {=Trailer:A}"),
	GOOD(FIELDS("TE: gzip;q=0.5, Trailers\r\nTE:\r\n"),
	     "GET 0 origin /  @h 1.1 none keep trailers {=Host:h} {*=TE:gzip;q=0.5, "
	     "Trailers} {*=TE:}"),
	GOOD(FIELDS("TE: gzip\r\n"), PLAIN " {*=TE:gzip}"),
	GOOD(FIELDS_1_0("TE: trailers\r\n"),
	     "GET 0 origin /  @h 1.0 none {=Host:h} {*=TE:trailers}"),
	/* Limits. */
	FITS("GET / HTTP/1.1\r\nHost: h\r\n\r\n", PLAIN, 27, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\r\n\r\n", HEAD_LARGE, 26, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\r\n\r\n", HEAD_LARGE, 16, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\r\n\r\n", TARGET_LONG, 15, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\r\n\r\n", TARGET_LONG, 1, 1),
	LIMIT("GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", TARGET_LONG, 20, 1),
	LIMIT("\r\n\r\n\r\n\r\n\r\n", HEAD_LARGE, 8, 1),
	LIMIT("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", TARGET_LONG, 10, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\n\r\n", HEAD_LARGE, 23, 1),
	LIMIT("GET / HTTP/1.1\r\nHost: h\n\r\n", BARE_LF, 24, 1),
	FITS(FIELDS("A: 1\r\nB: 2\r\n"), PLAIN " {A:1} {B:2}", 100, 3),
	LIMIT(FIELDS("A: 1\r\nB: 2\r\n"), HEAD_FIELDS, 100, 2),
	LIMIT(FIELDS("A: 1\r\nB: 2\r\n"), HEAD_FIELDS, 100, 0),
};

static const struct head_case responses[] = {
	GOOD(RESPONSE(""), "200 'OK' 1.1 close keep"),
	GOOD("HTTP/1.1 200\r\n\r\n", "200 '' 1.1 close keep"),
	GOOD("HTTP/1.1 200 \r\n\r\n", "200 '' 1.1 close keep"),
	GOOD("HTTP/1.0 404 Not \xc3\xa4 Found\t!\r\n\r\n",
	     "404 'Not \xc3\xa4 Found\t!' 1.0 close"),
	GOOD("HTTP/1.7 999  x \r\n\r\n", "999 ' x ' 1.1 close keep"),
	GOOD("HTTP/1.1 100 Continue\r\n\r\n", "100 'Continue' 1.1 close keep"),
	GOOD("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	     "101 'S' 1.1 close keep upgrade=websocket {*=Upgrade:websocket} "
	     "{*=Connection:upgrade}"),
	GOOD(RESPONSE("Content-Length: 5\r\n"), "200 'OK' 1.1 5 keep {*=Content-Length:5}"),
	GOOD(RESPONSE("Transfer-Encoding: chunked\r\nTrailer: X\r\n"),
	     "200 'OK' 1.1 chunked keep {*=Transfer-Encoding:chunked} {=Trailer:X}"),
	GOOD(RESPONSE("Connection: close, x\r\nX: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"),
	     "200 'OK' 1.1 close {*=Connection:close, x} {*X:1} {Set-Cookie:a} "
	     "{Set-Cookie:b}"),
	GOOD("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
	     "200 'OK' 1.0 1 keep {*=Connection:keep-alive} {*=Content-Length:1}"),
	GOOD(RESPONSE("Host: a b\r\nHost: c\r\n"),
	     "200 'OK' 1.1 close keep {=Host:a b} {=Host:c}"),
	GOOD(RESPONSE("Expect: 100-continue\r\nProxy-Status: x\r\n"),
	     "200 'OK' 1.1 close keep {=Expect:100-continue} {=Proxy-Status:x}"),
	BAD("\r\nHTTP/1.1 200 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1 20\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1 2000 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1 099 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1 2x0 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1  200 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1\t200 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP/1.1 200\tOK\r\n\r\n", STATUS_LINE),
	BAD(" HTTP/1.1 200 OK\r\n\r\n", STATUS_LINE),
	BAD("HTTP 200 OK\r\n\r\n", STATUS_LINE),
	BAD("ICY 200 OK\r\n\r\n", STATUS_LINE),
	BAD("hello\r\n\r\n", STATUS_LINE),
	BAD("HTTP/2.0 200 OK\r\n\r\n", VERSION),
	BAD("HTTP/1.1 200 O\0K\r\n\r\n", CONTROL),
	BAD("HTTP/1.1 200 OK\n\n", BARE_LF),
	BAD(RESPONSE("A: b\r\n c\r\n"), FIELD_FOLD),
	BAD(RESPONSE("A : b\r\n"), FIELD_COLON),
	BAD(RESPONSE("A: b\rc\r\n"), BARE_CR),
	BAD(RESPONSE("Content-Length: 5, 5\r\n"), LENGTH),
	BAD(RESPONSE("Content-Length: 5\r\nContent-Length: 5\r\n"), LENGTH_REPEATED),
	BAD(RESPONSE("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), LENGTH_CODING),
	BAD(RESPONSE("Transfer-Encoding: gzip\r\n"), CODING),
	BAD("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CODING_1_0),
	BAD(RESPONSE("Connection: @\r\n"), CONNECTION),
	LIMIT(RESPONSE(""), HEAD_LARGE, 18, 1),
	LIMIT(RESPONSE(""), HEAD_LARGE, 5, 1),
	LIMIT(RESPONSE("A: b\r\nC: d\r\n"), HEAD_FIELDS, 99, 1),
};

static const struct head_case trailers[] = {
	GOOD("\r\n", " 1.0 none"),
	GOOD("A: b\r\nDigest: x\r\n\r\n", " 1.0 none {A:b} {Digest:x}"),
	GOOD("Host: h\r\nContent-Length: 5\r\nset-cookie: a\r\nA: b\r\n\r\n",
	     " 1.0 none {*=Host:h} {*=Content-Length:5} {*set-cookie:a} {A:b}"),
	GOOD("transfer-encoding: chunked\r\nTE: x\r\nAuthorization: y\r\n\r\n",
	     " 1.0 none {*=transfer-encoding:chunked} {*=TE:x} {*Authorization:y}"),
	BAD("A\r\n\r\n", TRAILER),
	BAD("A: b\n\r\n", TRAILER),
	BAD(" A: b\r\n\r\n", TRAILER),
	BAD("A : b\r\n\r\n", TRAILER),
	BAD("A: \0\r\n\r\n", TRAILER),
	BAD("\r\r\n", TRAILER),
	/* No legitimate sender writes these, and llhttp refuses them. */
	BAD("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", TRAILER),
	BAD("Content-Length: x\r\n\r\n", TRAILER),
	LIMIT("A: b\r\n\r\n", TRAILER_LARGE, 7, 1),
	LIMIT("A: b\r\nC: d\r\n\r\n", TRAILER_LARGE, 99, 1),
};

typedef enum verdict parse_fn(struct head *, const char *, size_t,
			      const struct head_limits *, uint32_t *);

/* The current case, for messages. */
static const struct head_case *current_case;

static struct head_limits limits_of(const struct head_case *c)
{
	return c->limits.bytes ? c->limits : (struct head_limits){ 16384, 100, 0 };
}

static const char *framing_name(const struct head *h)
{
	static char text[32];

	switch (h->framing) {
	case FRAMING_NONE:
		return "none";
	case FRAMING_LENGTH:
		snprintf(text, sizeof(text), "%llu", (unsigned long long)h->length);
		return text;
	case FRAMING_CHUNKED:
		return "chunked";
	case FRAMING_CLOSE:
		return "close";
	}
	return "?";
}

static const char *const form_names[] = { "origin", "absolute", "authority", "asterisk" };

/* METHOD-NUMBER target FORM path query @authority minor framing [flags] {fields};
 * "*" marks a per-hop field, "=" one of header.def. */
static void meaning_print(FILE *f, const struct head *h)
{
	if (h->method_token.len > 0)
		fprintf(f, "%.*s %d %s %.*s %.*s @%.*s", SLICE_ARG(h->method_token),
			h->method == METHOD_OTHER ? -1 : (int)h->method,
			form_names[h->target_form], SLICE_ARG(h->path),
			SLICE_ARG(h->query), SLICE_ARG(h->authority));
	if (h->status)
		fprintf(f, "%d '%.*s'", h->status, SLICE_ARG(h->phrase));
	fprintf(f, " 1.%d %s%s", h->minor, framing_name(h), h->keep_alive ? " keep" : "");
	if (h->upgrade)
		fprintf(f, " upgrade=%.*s", SLICE_ARG(h->upgrade_token));
	fprintf(f, "%s%s", h->expect_continue ? " continue" : "",
		h->te_trailers ? " trailers" : "");
	if (h->forwards_limited)
		fprintf(f, " forwards=%u", h->max_forwards);
	for (int i = 0; i < h->field_n; i++)
		fprintf(f, " {%s%s%.*s:%.*s}", h->fields[i].per_hop ? "*" : "",
			h->fields[i].header != HEADER_OTHER ? "=" : "",
			SLICE_ARG(h->fields[i].name), SLICE_ARG(h->fields[i].value));
}

static void meaning_check(const struct head *h, const char *how, size_t cut)
{
	char text[2048] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	meaning_print(f, h);
	fclose(f);
	if (strcmp(text, current_case->meaning) != 0)
		fail_msg("%.*s\n%s, split at %zu: is '%s', not '%s'",
			 SLICE_ARG(current_case->input), how, cut, text, current_case->meaning);
}

static void verdict_check(enum verdict verdict, const struct head *h, const char *how,
			  size_t cut)
{
	enum verdict expected = current_case->fault ? VERDICT_BAD : VERDICT_OK;

	if (verdict != expected || h->fault != current_case->fault)
		fail_msg("%.*s\n%s, split at %zu: verdict %d (%s), not %d (%s)",
			 SLICE_ARG(current_case->input), how, cut, verdict,
			 fault_text(h->fault), expected, fault_text(current_case->fault));
	if (verdict == VERDICT_OK)
		meaning_check(h, how, cut);
}

/* Parses the first n bytes, at the edge of an unreadable page. */
static enum verdict parse_guarded(parse_fn *parse, size_t n, uint32_t *scanned,
				  const char *how)
{
	static struct head h;
	struct head_limits limits = limits_of(current_case);
	char *p = guard_copy(current_case->input.ptr, n);
	enum verdict verdict;

	memset(&h, 0xa5, sizeof(h));
	verdict = parse(&h, p, n, &limits, scanned);
	if (verdict == VERDICT_MORE)
		assert_true(n < current_case->input.len && n < limits.bytes);
	else
		verdict_check(verdict, &h, how, n);
	if (verdict == VERDICT_OK) {
		assert_int_equal(h.bytes, n);
		assert_int_equal(parse(&h, p, n, &limits, scanned), VERDICT_OK);
		meaning_check(&h, "parsed again", n);
	}
	guard_free(p);
	return verdict;
}

/* The result is the same however the bytes are split. */
static void case_split(parse_fn *parse)
{
	uint32_t bytewise_scanned = 0;
	enum verdict bytewise = VERDICT_MORE;

	for (size_t cut = 0; cut <= current_case->input.len; cut++) {
		uint32_t scanned = 0;

		if (parse_guarded(parse, cut, &scanned, "whole") == VERDICT_MORE)
			parse_guarded(parse, current_case->input.len, &scanned,
				      "second piece");
		if (bytewise == VERDICT_MORE)
			bytewise = parse_guarded(parse, cut, &bytewise_scanned, "dripping");
	}
	assert_int_not_equal(bytewise, VERDICT_MORE);
}

/* Bytes after a head are neither parsed nor counted. */
static void case_followed(parse_fn *parse)
{
	static const char after[] = "\nGET \r\x01 \0";
	static struct head h;
	struct head_limits limits = limits_of(current_case);
	size_t n = current_case->input.len;
	uint32_t scanned = 0;
	char *p = guard_copy(current_case->input.ptr, n);
	char both[4096];

	memcpy(both, p, n);
	memcpy(both + n, after, sizeof(after));
	verdict_check(parse(&h, both, n + sizeof(after), &limits, &scanned), &h,
		      "followed", n);
	assert_int_equal(h.bytes, n);
	guard_free(p);
}

static void cases_check(const struct head_case *rows, size_t n, parse_fn *parse)
{
	for (current_case = rows; current_case < rows + n; current_case++) {
		case_split(parse);
		if (!current_case->fault)
			case_followed(parse);
	}
}

static void requests_split_at_every_byte(void **state)
{
	(void)state;
	cases_check(requests, COUNT(requests), head_parse_request);
}

static void responses_split_at_every_byte(void **state)
{
	(void)state;
	cases_check(responses, COUNT(responses), head_parse_response);
}

static void trailers_split_at_every_byte(void **state)
{
	(void)state;
	cases_check(trailers, COUNT(trailers), head_parse_trailers);
}

static enum verdict fields_parse(struct head *h, char *text, const char *name)
{
	static const struct head_limits limits = { 1024, 10, 0 };
	uint32_t scanned = 0;
	int n = sprintf(text, "%s: \r\n\r\n", name);

	return head_parse_trailers(h, text, (size_t)n, &limits, &scanned);
}

/* Every name of header.def is recognised in any case, and no similar name. */
static void known_fields(void **state)
{
	static const struct {
		const char *name;
		enum header header;
		bool per_hop;
	} rows[] = {
#define HEADER(id, name, hop) { name, HEADER_##id, hop },
#include "http/header.def"
#undef HEADER
		{ "X", HEADER_OTHER, false },
		{ "Hos", HEADER_OTHER, false },
		{ "Hosts", HEADER_OTHER, false },
		{ "H-st", HEADER_OTHER, false },
	};
	static struct head h;
	char text[64], upper[64];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		strcpy(upper, rows[i].name);
		for (char *c = upper; *c; c++)
			*c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
		(void)!fields_parse(&h, text, upper);
		assert_int_equal(h.fields[0].header, rows[i].header);
		(void)!fields_parse(&h, text, rows[i].name);
		assert_int_equal(h.fields[0].header, rows[i].header);
		if (rows[i].per_hop)
			assert_true(h.fields[0].per_hop);
	}
}

/* Only HTAB, visible octets and obs-text are accepted in a value, only tchar in a name or
 * method. */
static void octets(void **state)
{
	static const struct head_limits limits = { 1024, 10, 0 };
	static const char tchar[] = "!#$%&'*+-.^_`|~";
	static struct head h;

	(void)state;
	for (int c = 0; c < 256; c++) {
		char value[] = "A: b.c\r\n\r\n", name[] = "A.b: c\r\n\r\n";
		bool in_value = c == '\t' || (c >= 0x20 && c != 0x7f);
		bool in_name = (c >= '0' && c <= '9') ||
			       ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			       (c && strchr(tchar, c));
		uint32_t scanned = 0;

		value[4] = name[1] = (char)c;
		assert_int_equal(head_parse_trailers(&h, value, 10, &limits, &scanned),
				 in_value ? VERDICT_OK : VERDICT_BAD);
		scanned = 0;
		if (c == ':') /* ends the name "A" */
			continue;
		assert_int_equal(head_parse_trailers(&h, name, 10, &limits, &scanned),
				 in_name ? VERDICT_OK : VERDICT_BAD);
	}
}

static void response_framing(void **state)
{
	static const struct {
		int status;
		enum method method;
		enum framing framing;
	} rows[] = {
		{ 200, METHOD_GET, FRAMING_CHUNKED },
		{ 200, METHOD_HEAD, FRAMING_NONE },
		{ 100, METHOD_GET, FRAMING_NONE },
		{ 101, METHOD_GET, FRAMING_NONE },
		{ 199, METHOD_POST, FRAMING_NONE },
		{ 204, METHOD_GET, FRAMING_NONE },
		{ 205, METHOD_GET, FRAMING_CHUNKED },
		{ 304, METHOD_GET, FRAMING_NONE },
		{ 404, METHOD_OTHER, FRAMING_CHUNKED },
		{ 404, METHOD_HEAD, FRAMING_NONE },
		{ 200, METHOD_CONNECT, FRAMING_NONE },
		{ 407, METHOD_CONNECT, FRAMING_CHUNKED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct head h;

		h.framing = FRAMING_CHUNKED;
		h.status = rows[i].status;
		assert_int_equal(head_response_framing(&h, rows[i].method),
				 rows[i].framing);
	}
}

static void finding(void **state)
{
	static const struct head_limits limits = { 1024, 10, 0 };
	static const char text[] = FIELDS("A: 1\r\nVia: x\r\na: 2\r\nVIA: y\r\n");
	static struct head h;
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(
		head_parse_request(&h, text, sizeof(text) - 1, &limits, &scanned),
		VERDICT_OK);
	assert_ptr_equal(head_find(&h, HEADER_VIA), &h.fields[2]);
	assert_null(head_find(&h, HEADER_COOKIE));
	assert_ptr_equal(head_find_name(&h, SLICE("a")), &h.fields[1]);
	assert_ptr_equal(head_find_name(&h, SLICE("hoST")), &h.fields[0]);
	assert_null(head_find_name(&h, SLICE("Ho")));
}

/* The largest number of fields, and one more. */
static void most_fields(void **state)
{
	static const struct head_limits limits = { 65536, HEAD_FIELDS_MAX, 0 };
	static struct head h;
	static char text[4096];
	uint32_t scanned = 0;
	int n = 0;

	(void)state;
	for (int i = 0; i < HEAD_FIELDS_MAX; i++)
		n += sprintf(text + n, "f%d: %d\r\n", i, i);
	strcpy(text + n, "\r\n");
	assert_int_equal(head_parse_trailers(&h, text, (size_t)n + 2, &limits, &scanned),
			 VERDICT_OK);
	assert_int_equal(h.field_n, HEAD_FIELDS_MAX);
	strcpy(text + n, "x: y\r\n\r\n");
	scanned = 0;
	assert_int_equal(head_parse_trailers(&h, text, (size_t)n + 8, &limits, &scanned),
			 VERDICT_BAD);
	assert_int_equal(h.fault, FAULT_TRAILER_LARGE);
}

/* A head whose fields differ from those found by llhttp is refused. */
static void llhttp_must_agree(void **state)
{
	static const struct head_limits limits = { 1024, 10, 0 };
	static const char text[] = "Ab: cd\r\nE:\r\nF: g\r\n\r\n";
	struct slice section = { text, sizeof(text) - 1 };
	static struct head good, h;
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(head_parse_trailers(&good, text, section.len, &limits, &scanned),
			 VERDICT_OK);
	assert_int_equal(field_confirm(&good, section), FAULT_NONE);
	for (int wrong = 0; wrong < 8; wrong++) {
		h = good;
		h.field_n += (uint16_t)((wrong == 0) - (wrong == 1));
		h.fields[0].name.len -= wrong == 2;
		h.fields[0].name.ptr += wrong == 3;
		h.fields[0].value.len -= wrong == 4;
		h.fields[0].value.ptr += wrong == 5;
		h.fields[1].value.len += wrong == 6;
		h.fields[2].value.len -= wrong == 7;
		assert_int_equal(field_confirm(&h, section), FAULT_FIELD_VALUE);
	}
}

static uint32_t random_below(uint32_t n)
{
	static uint64_t seed = 42;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

/* Writes the input of a random case with a few octets replaced. */
static size_t mutant(char *text)
{
	static const char octets[] = "\r\n\t :;,%#/?\"[]\0\x7f\x80"
				     "0aZ";
	const struct head_case *c = &requests[random_below(COUNT(requests))];
	size_t n = c->input.len;

	memcpy(text, c->input.ptr, n);
	for (uint32_t k = 1 + random_below(3); k > 0; k--)
		text[random_below((uint32_t)n)] =
			octets[random_below(sizeof(octets) - 1)];
	return n;
}

/* For any input: splitting it changes nothing, and llhttp accepts what we accept. */
static void mutants(void **state)
{
	static const struct head_limits limits = { 16384, 100, 0 };
	static struct head whole, cut;
	char text[1024];

	(void)state;
	for (int i = 0; i < 50000; i++) {
		size_t n = mutant(text);
		uint32_t scanned = 0;
		enum verdict expected = head_parse_request(&whole, text, n, &limits,
							   &scanned);
		enum verdict verdict;

		/* llhttp refuses a tab after Content-Length, which RFC 9110 5.5
		 * allows. */
		assert_true(whole.fault != FAULT_FIELD_VALUE ||
			    memmem(text, n, "\t\r\n", 3));
		scanned = 0;
		verdict = head_parse_request(&cut, text, random_below((uint32_t)n),
					     &limits, &scanned);
		if (verdict == VERDICT_MORE)
			verdict = head_parse_request(&cut, text, n, &limits, &scanned);
		assert_int_equal(verdict, expected);
		assert_int_equal(cut.fault, whole.fault);
	}
}

static void faults_and_methods(void **state)
{
	(void)state;
	assert_int_equal(fault_status(FAULT_TARGET_LONG), 414);
	assert_int_equal(fault_status(FAULT_VERSION), 505);
	assert_string_equal(fault_text(FAULT_BARE_LF), "bare LF");
	assert_true(method_idempotent(METHOD_PUT));
	assert_false(method_idempotent(METHOD_POST));
	assert_false(method_idempotent(METHOD_OTHER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_split_at_every_byte),
		cmocka_unit_test(responses_split_at_every_byte),
		cmocka_unit_test(trailers_split_at_every_byte),
		cmocka_unit_test(known_fields),
		cmocka_unit_test(octets),
		cmocka_unit_test(response_framing),
		cmocka_unit_test(finding),
		cmocka_unit_test(most_fields),
		cmocka_unit_test(llhttp_must_agree),
		cmocka_unit_test(mutants),
		cmocka_unit_test(faults_and_methods),
	};

	return cmocka_run_group_tests_name("head", tests, NULL, NULL);
}
