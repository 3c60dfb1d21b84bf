// A Go server that forgets to close some of the connections it accepts. It
// speaks and obeys as the C programs do (scenario.h), and takes the same
// options as leaky_server.c where it has them.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
)

var (
	bindTo = flag.String("bind", "127.0.0.1", "address to listen on")
	port   = flag.Int("port", 0, "port to listen on; 0: any")
	leak   = flag.Int("leak", 0, "connections never closed")
	close_ = flag.Int("close", 0, "connections closed when the client has closed")
	read   = flag.String("read", "eof", "what is read of those that leak: none or eof")
	drop   = flag.Bool("drop", false, "keep no reference to those that leak: only a collection, asked for by \"collect\", closes them")
)

// kept also keeps the collector away: a finalizer would close the sockets.
var kept []*net.TCPConn

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fdOf(conn *net.TCPConn) (fd uintptr) {
	raw, err := conn.SyscallConn()
	must(err)
	must(raw.Control(func(f uintptr) { fd = f }))
	return fd
}

//go:noinline
func acceptAndForget(listener *net.TCPListener) {
	conn, err := listener.AcceptTCP()
	must(err)
	if *read == "eof" {
		_, err = io.Copy(io.Discard, conn)
		must(err)
	}
	if !*drop {
		kept = append(kept, conn)
	}
	fmt.Printf("leak pid=%d fd=%d port=%d\n", os.Getpid(), fdOf(conn), conn.RemoteAddr().(*net.TCPAddr).Port)
}

//go:noinline
func acceptAndClose(listener *net.TCPListener) {
	conn, err := listener.AcceptTCP()
	must(err)
	_, err = io.Copy(io.Discard, conn)
	must(err)
	must(conn.Close())
}

//go:noinline
func handleClient(listener *net.TCPListener, leaks bool) {
	if leaks {
		acceptAndForget(listener)
	} else {
		acceptAndClose(listener)
	}
}

//go:noinline
func serve(listener *net.TCPListener) {
	all := *leak + *close_
	for i := 0; i < all; i++ {
		handleClient(listener, (i+1)**leak/all != i**leak/all)
	}
}

func main() {
	flag.Parse()
	if *drop {
		debug.SetGCPercent(-1)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(*bindTo), Port: *port})
	must(err)
	commands := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			commands <- in.Text()
		}
		// The test that started this program is over.
		os.Exit(0)
	}()
	fmt.Printf("ready port=%d pid=%d\n", listener.Addr().(*net.TCPAddr).Port, os.Getpid())
	serve(listener)
	fmt.Printf("done leaked=%d closed=%d\n", *leak, *close_)
	for command := range commands {
		switch command {
		case "close":
			for _, conn := range kept {
				must(conn.Close())
			}
			fmt.Printf("closed count=%d\n", len(kept))
			kept = nil
		case "collect":
			runtime.GC()
		default:
			must(fmt.Errorf("cannot use command %q", command))
		}
	}
}
