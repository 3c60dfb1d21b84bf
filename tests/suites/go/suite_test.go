// Package suite is a test suite in Go: a client of a server that hangs up. With
// SUITE_LEAKS set it forgets to close.
package suite

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// What is reachable has no finalizer that closes it.
var forgotten []net.Conn

// server accepts one connection and hangs up.
func server(t *testing.T) string {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if connection, err := listener.Accept(); err == nil {
			connection.Close()
		}
		listener.Close()
	}()
	return listener.Addr().String()
}

//go:noinline
func fetchQuote(t *testing.T, address string) net.Conn {
	connection, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	if quote, err := io.ReadAll(connection); err != nil || len(quote) > 0 {
		t.Fatal(quote, err)
	}
	return connection
}

func TestAQuoteIsFetched(t *testing.T) {
	connection := fetchQuote(t, server(t))
	if os.Getenv("SUITE_LEAKS") != "" {
		forgotten = append(forgotten, connection)
	} else {
		connection.Close()
	}
}

func TestBTakesHalfASecond(t *testing.T) {
	time.Sleep(500 * time.Millisecond)
}
