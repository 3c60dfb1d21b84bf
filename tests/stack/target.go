// A process that prints its own call path, waits for its input to end, exits.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

//go:noinline
func leak() {
	var pcs [8]uintptr
	// 0 is Callers itself, 1 is leak: the addresses are return addresses.
	for _, pc := range pcs[:runtime.Callers(1, pcs[:])] {
		fmt.Printf("%#x ", pc)
	}
	fmt.Println()
}

//go:noinline
func serve() { leak() }

func main() {
	serve()
	io.Copy(io.Discard, os.Stdin)
}
