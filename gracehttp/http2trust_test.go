package gracehttp

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"github.com/go-grace/grace/internal/test/managertest"
)

// embedding is a wrapper that has all methods of a listener, and might have an Accept of its own.
type embedding struct{ *net.TCPListener }

// HTTP/2 is ended without a refused request only on listeners that cannot hide TLS from net/http.
// The Manager's own are among them, wherever their types are defined; wrappers are not.
func TestListenersThatCannotHideTLS(t *testing.T) {
	m := managertest.New(t)
	tcp, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := m.Listen(t.Context(), "unix", filepath.Join(shortDir(t), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	bare := listen(t)
	defer bare.Close()
	for name, c := range map[string]struct {
		ln   net.Listener
		hide bool
	}{
		"tcp of the Manager":  {ln: tcp},
		"unix of the Manager": {ln: unix},
		"tcp of package net":  {ln: bare},
		"unix of package net": {ln: &net.UnixListener{}},
		"tls":                 {ln: tls.NewListener(tcp, &tls.Config{})},
		"tls of a wrapper":    {ln: tls.NewListener(hidingListener{tcp}, &tls.Config{})},
		"tcp, wrapped":        {ln: hidingListener{tcp}, hide: true},
		"unix, wrapped":       {ln: hidingListener{unix}, hide: true},
		"tls, wrapped":        {ln: hidingListener{tls.NewListener(tcp, &tls.Config{})}, hide: true},
		"net, embedded":       {ln: embedding{bare.(*net.TCPListener)}, hide: true},
	} {
		if mayHideTLS(c.ln) != c.hide {
			t.Errorf("%s: it may hide TLS: %v", name, !c.hide)
		}
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
