// A server whose answers take long. Without "fixed" a handler does not mind that its
// client has left.
package main

import (
	"log"
	"net/http"
	"os"
)

var done = make(chan bool)

func main() {
	http.HandleFunc("/", exportOrders)
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

func exportOrders(_ http.ResponseWriter, request *http.Request) {
	if os.Args[1] == "fixed" {
		<-request.Context().Done()
		return
	}
	<-done
}
