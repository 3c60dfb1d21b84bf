// Six functions deep in a goroutine of its own, and then for ever in read().
package main

import "syscall"

type pool struct{ taken int }

//go:noinline
func (p *pool) leakHere() int {
	var b [1]byte
	n, _ := syscall.Read(0, b[:])
	p.taken += n
	return p.taken
}

//go:noinline
func takeOne(p *pool) int { return p.leakHere()*3 + p.taken }

//go:noinline
func handle(p *pool) int { return takeOne(p)*5 + p.taken }

//go:noinline
func dispatch(call func(*pool) int, p *pool) int { return call(p)*7 + p.taken }

//go:noinline
func serve(p *pool) int { return dispatch(handle, p)*11 + p.taken }

//go:noinline
func runServer(done chan int) { done <- serve(&pool{}) * 13 }

func main() {
	done := make(chan int)
	go runServer(done)
	<-done
}
