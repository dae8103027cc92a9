package mixed

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// packetServer answers each datagram. During a handoff two processes read from the socket, and only
// the one that has read a datagram can answer it.
type packetServer struct {
	conn       net.PacketConn
	generation int
	work       sync.WaitGroup
}

func (s *packetServer) start(fail func(error)) {
	s.work.Go(func() { // ends with drain
		if err := s.read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			fail(err)
		}
	})
}

func (s *packetServer) read() error {
	for b := make([]byte, 64<<10); ; {
		n, client, err := s.conn.ReadFrom(b)
		if err != nil {
			return err
		}
		text := string(b[:n])
		s.work.Go(func() { s.answer(client, text) }) // ends soon
	}
}

func (s *packetServer) answer(client net.Addr, text string) {
	if strings.HasSuffix(text, slowMark) {
		time.Sleep(slowAnswer)
	}
	b, err := json.Marshal(answer{Text: text, Generation: s.generation})
	if err != nil {
		return // an answer can always be encoded
	}
	_, _ = s.conn.WriteTo(b, client) // fails if the client is gone
}

// drain ends the reads, and closes the socket once everything that was read is answered. Datagrams
// that wait in the socket belong to the successor.
func (s *packetServer) drain(ctx context.Context) error {
	err := s.conn.SetReadDeadline(time.Now())
	return errors.Join(err, await(ctx, &s.work), s.conn.Close())
}
