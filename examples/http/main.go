// HTTP says which process answers. Replace the binary and send it SIGHUP: no request is lost.
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
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "process", os.Getpid())
	})
	http.Handle("/ready", gracehttp.Readiness(m))
	err = gracehttp.ListenAndServe(context.Background(), m, &http.Server{Addr: os.Args[1]})
	if err != nil { // it returns at SIGTERM, or when SIGHUP has brought a new process, after all requests
		log.Fatal(err)
	}
}
