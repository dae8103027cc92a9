// HTTP answers with the number of its process. Replace the binary and send it SIGHUP: no request is
// lost.
//
//	go build ./examples/http && ./http localhost:8000
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: http HOST:PORT")
		os.Exit(2)
	}
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "process", os.Getpid())
	})
	http.Handle("/ready", gracehttp.Readiness(m))
	// It returns after the last request, on SIGTERM or once SIGHUP has started a new process.
	err = gracehttp.ListenAndServe(context.Background(), m, &http.Server{Addr: os.Args[1]})
	if err != nil {
		log.Fatal(err)
	}
}
