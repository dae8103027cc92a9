//go:build unix

package gracehttp_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
	"github.com/go-grace/grace/internal/test/exampletest"
)

const (
	keyRotation = 24 * time.Hour // how long a key encrypts new tickets
	maxKeys     = 3              // older keys only decrypt
)

// ticketKeys are the keys of the session tickets. Whoever has one can read recorded sessions of
// TLS 1.2, so no key should live for long.
type ticketKeys struct {
	mu   sync.Mutex
	keys []ticketKey // the newest one, which encrypts new tickets, comes first
}

type ticketKey struct {
	Key  [32]byte
	Made time.Time
}

// inheritTicketKeys returns the keys of the previous process, or none in the first process.
func inheritTicketKeys(m *grace.Manager) (*ticketKeys, error) {
	k := new(ticketKeys)
	data, err := m.InheritedState("ticket keys")
	if errors.Is(err, grace.ErrNotInherited) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	return k, json.Unmarshal(data, &k.keys)
}

// encode runs in each upgrade. What it returns is secret, and stays in memory on its way, on Linux:
// see [grace.Manager.PassState].
func (k *ticketKeys) encode(context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return json.Marshal(k.keys)
}

// rotate makes a new key if the newest one is too old, and tells the server of the keys.
func (k *ticketKeys) rotate(config *tls.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 0 || time.Since(k.keys[0].Made) >= keyRotation {
		fresh := ticketKey{Made: time.Now()}
		_, _ = rand.Read(fresh.Key[:]) // it never fails
		k.keys = append([]ticketKey{fresh}, k.keys[:min(len(k.keys), maxKeys-1)]...)
	}
	var keys [][32]byte
	for _, key := range k.keys {
		keys = append(keys, key.Key)
	}
	config.SetSessionTicketKeys(keys) // it may be in use
}

// keepRotating rotates the keys until the process drains.
func (k *ticketKeys) keepRotating(config *tls.Config, drain <-chan struct{}) {
	for {
		select {
		case <-time.After(time.Hour):
			k.rotate(config)
		case <-drain:
			return
		}
	}
}

// serveTickets runs a service with TLS whose clients resume their sessions after an upgrade.
func serveTickets(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	keys, err := inheritTicketKeys(m)
	if err != nil {
		return m.Fail(err) // such as state of another version: the previous process keeps serving
	}
	if err := m.PassState("ticket keys", keys.encode); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		return m.Fail(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2", "http/1.1"}, // http.Server sets it in its own configuration only
	}
	keys.rotate(config)
	m.Go(func() error {
		keys.keepRotating(config, m.Done())
		return nil
	})
	return gracehttp.ListenAndServeTLS(ctx, m, tlsServer(m, addr, config), "", "")
}

// tlsServer returns a server that uses config itself. It would copy its TLSConfig, and new keys
// would not reach the copy.
func tlsServer(m *grace.Manager, addr string, config *tls.Config) *http.Server {
	return &http.Server{
		Addr: addr,
		TLSConfig: &tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil },
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "process %d, resumed: %t", m.Status().Generation, r.TLS.DidResume)
		}),
	}
}

// Clients resume their TLS sessions after an upgrade, because the keys of the session tickets go
// from process to process. Otherwise each client would have to do a full handshake with the new
// process, all of them at once.
func ExampleListenAndServeTLS_sessionTickets() {
	files, trust := exampletest.Certificate()
	service := exampletest.Start(serveTickets, files...) // as a process
	defer service.Stop()

	trust.ClientSessionCache = tls.NewLRUClientSessionCache(1) // of one client
	fmt.Println(service.GetTLS("/", trust))
	fmt.Println(service.GetTLS("/", trust))

	for range 2 {
		fmt.Println(service.Upgrade()) // on SIGHUP
		fmt.Println(service.GetTLS("/", trust))
	}
	// Output:
	// 200 process 1, resumed: false
	// 200 process 1, resumed: true
	// upgrade finished
	// 200 process 2, resumed: true
	// upgrade finished
	// 200 process 3, resumed: true
}
