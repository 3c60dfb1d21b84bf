// A server, a line in, a line out: a goroutine for each connection. Without "fixed" it
// forgets to close.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
)

var sessions = make(chan net.Conn, 10000)

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serveClient(client)
	}
}

func serveClient(client net.Conn) {
	if os.Args[1] == "fixed" {
		defer client.Close()
	}
	sessions <- client
	takeOrders(client)
}

//go:noinline
func takeOrders(client net.Conn) {
	lines := bufio.NewScanner(client)
	for lines.Scan() {
		fmt.Fprintln(client, "taken", lines.Text())
	}
}
