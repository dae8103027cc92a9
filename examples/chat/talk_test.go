//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// talk is a conversation of people who stay while visitors come and go.
type talk struct {
	s      *service
	people []*person
	work   sync.WaitGroup

	mu        sync.Mutex
	pause     chan struct{}    // of those in the middle of a message; closed when they continue
	silent    map[*person]bool // those who have not begun a message in this pause
	over      bool
	visitors  int
	firstFail error
}

func startTalk(t *testing.T, s *service, n int) *talk {
	t.Helper()
	k := &talk{s: s, pause: make(chan struct{})}
	for i := range n {
		k.people = append(k.people, meet(t, s, fmt.Sprint("p", i)))
	}
	k.pauseAgain()
	for i, p := range k.people {
		say := manners[i%len(manners)]
		k.work.Go(func() { k.note(k.converse(p, say)) }) // ends with the talk, or the connection
	}
	k.work.Go(func() { k.note(k.visit()) }) // likewise
	t.Cleanup(k.finish)                     // after a failure
	return k
}

func (k *talk) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.firstFail == nil {
		k.firstFail = err
	}
}

// pauseAgain ends the pause, and begins another one.
func (k *talk) pauseAgain() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.pause)
	k.pause = make(chan struct{})
	k.silent = make(map[*person]bool)
	for _, p := range k.people {
		k.silent[p] = true
	}
}

// begin records that p begins a message, and returns the pause in which to end it. It returns false
// if the talk is over.
func (k *talk) begin(p *person) (pause <-chan struct{}, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.silent, p)
	return k.pause, !k.over
}

// converse lets p say one thing after another, each when the previous one has come back.
func (k *talk) converse(p *person, say manner) error {
	for {
		pause, ok := k.begin(p)
		if !ok {
			return nil
		}
		if err := errors.Join(say(p, pause), p.awaitOwn()); err != nil {
			return err
		}
		time.Sleep(3 * time.Millisecond) // not to flood the service
	}
}

// visit lets one visitor after another say something, hear everything from then on, and leave.
func (k *talk) visit() error {
	for n := 1; ; n++ {
		p, err := dial(k.s.addr, fmt.Sprint("v", n))
		if err != nil {
			return err
		}
		if _, ok := k.begin(p); !ok {
			p.hangUp()
			return nil
		}
		err = errors.Join(whole(p, nil), p.awaitOwn(), p.leave())
		if err == nil {
			err = checkNumbers(p.heard)
		}
		if err != nil {
			p.hangUp()
			return err
		}
		k.mu.Lock()
		k.visitors++
		k.mu.Unlock()
	}
}

// awaitAll waits until everybody has begun a message in this pause.
func (k *talk) awaitAll(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		silent, err := len(k.silent), k.firstFail
		k.mu.Unlock()
		switch {
		case err != nil:
			t.Fatal(err)
		case silent == 0:
			return
		case time.Now().After(deadline):
			t.Fatalf("%d people say nothing", silent)
		}
	}
}

// finish lets everybody finish.
func (k *talk) finish() {
	k.mu.Lock()
	if !k.over {
		k.over = true
		close(k.pause)
	}
	k.mu.Unlock()
	k.work.Wait()
}

// end lets everybody finish, and checks what they heard.
func (k *talk) end(t *testing.T) {
	t.Helper()
	k.finish()
	if k.firstFail != nil {
		t.Fatal(k.firstFail)
	}
	said := k.visitors
	for _, p := range k.people {
		said += p.sent
	}
	t.Logf("%d messages, %d of them by visitors", said, k.visitors)
	for _, p := range k.people {
		if err := p.await(func() bool { return len(p.heard) >= said }); err != nil {
			t.Fatal(err)
		}
	}
	first := k.people[0].heard
	err := errors.Join(checkNumbers(first), checkOrder(first))
	if err != nil || len(first) != said || numberOf(first[0]) != 1 {
		t.Errorf("%d of %d messages were heard, from %.20q on: %v", len(first), said, first[0], err)
	}
	for _, p := range k.people[1:] {
		if !slices.Equal(p.heard, first) {
			t.Errorf("%s and %s heard different messages", p.nick, k.people[0].nick)
		}
	}
}

func numberOf(message string) (n int) {
	_, _ = fmt.Sscan(message, &n)
	return n
}

// checkNumbers expects no gap in the numbers.
func checkNumbers(heard []string) error {
	for i, message := range heard {
		if n := numberOf(message); n != numberOf(heard[0])+i {
			return fmt.Errorf("after message %d comes %d", numberOf(heard[0])+i-1, n)
		}
	}
	return nil
}

// checkOrder expects each message of a person once, and in order.
func checkOrder(heard []string) error {
	last := make(map[string]int)
	for _, message := range heard {
		var number, own int
		var nick string
		if _, err := fmt.Sscan(message, &number, &nick, &own); err != nil || own != last[nick]+1 {
			return fmt.Errorf("after %s %d comes %.20q, %v", nick, last[nick], message, err)
		}
		last[nick] = own
	}
	return nil
}
