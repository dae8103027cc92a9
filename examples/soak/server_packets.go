package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// packetServer answers each datagram. During a handoff two processes read from the socket, and whoever has taken a datagram
// is the only one that can answer it.
type packetServer struct {
	conn       net.PacketConn
	generation int
	work       sync.WaitGroup
}

func (s *packetServer) start(fail func(error)) {
	s.work.Go(func() { // ends with drain
		if err := s.serve(); !errors.Is(err, os.ErrDeadlineExceeded) {
			fail(err)
		}
	})
}

func (s *packetServer) serve() error {
	for b := make([]byte, 64<<10); ; {
		n, client, err := s.conn.ReadFrom(b)
		if err != nil {
			return err
		}
		text, err := json.Marshal(answer{Text: string(b[:n]), Generation: s.generation})
		if err != nil {
			return err
		}
		if _, err := s.conn.WriteTo(text, client); err != nil {
			return err
		}
	}
}

// drain ends the reads, and only them: if the socket were closed now, a datagram that was just read could not be answered any
// more. What waits in the socket is the successor's.
func (s *packetServer) drain(ctx context.Context) error {
	err := s.conn.SetReadDeadline(time.Now())
	return errors.Join(err, await(ctx, &s.work), s.conn.Close())
}
