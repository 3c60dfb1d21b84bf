// The server of tests/scenarios/deep_server.c in Go, in a goroutine of its own.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
)

var sink int

//go:noinline
func leakHere(l *net.TCPListener) *net.TCPConn {
	conn, err := l.AcceptTCP()
	if err != nil {
		panic(err)
	}
	sink++
	return conn
}

//go:noinline
func readOn(conn *net.TCPConn) int {
	buf, all := make([]byte, 256), 0
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return all
		}
		all += n
	}
}

//go:noinline
func takeOne(l *net.TCPListener) *net.TCPConn { c := leakHere(l); sink += 3; return c }

//go:noinline
func handle(l *net.TCPListener) *net.TCPConn { c := takeOne(l); sink += 5; return c }

//go:noinline
func dispatch(call func(*net.TCPListener) *net.TCPConn, l *net.TCPListener) *net.TCPConn {
	c := call(l)
	sink += 7
	return c
}

//go:noinline
func serve(l *net.TCPListener) *net.TCPConn { c := dispatch(handle, l); sink += 11; return c }

//go:noinline
func runServer(l *net.TCPListener) *net.TCPConn { c := serve(l); sink += 13; return c }

//go:noinline
func fillBuffer(c *net.TCPConn) int { return readOn(c)*3 + sink }

//go:noinline
func parseLine(c *net.TCPConn) int { return fillBuffer(c)*5 + sink }

//go:noinline
func nextRequest(call func(*net.TCPConn) int, c *net.TCPConn) int { return call(c)*7 + sink }

//go:noinline
func converse(c *net.TCPConn) int { return nextRequest(parseLine, c)*11 + sink }

//go:noinline
func runClient(c *net.TCPConn) int { return converse(c)*13 + sink }

func main() {
	leak, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	fmt.Printf("ready port=%d pid=%d\n", listener.Addr().(*net.TCPAddr).Port, os.Getpid())
	// What is reachable has no finalizer that closes it.
	var kept []*net.TCPConn
	done := make(chan bool)
	go func() {
		for i := 0; i < leak; i++ {
			conn := runServer(listener)
			sink += runClient(conn)
			kept = append(kept, conn)
		}
		done <- true
	}()
	<-done
	fmt.Printf("done leaked=%d closed=0\n", leak)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
	}
	fmt.Println(len(kept))
}
