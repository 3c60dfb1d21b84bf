// A client that asks again and again. Without "fixed" it forgets to close the body.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	for {
		fetchPrice(os.Args[1] == "fixed")
		time.Sleep(500 * time.Millisecond)
	}
}

//go:noinline
func fetchPrice(closes bool) {
	response, err := http.Get("http://127.0.0.1:8000/price")
	if err != nil {
		log.Fatal(err)
	}
	if closes {
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}
