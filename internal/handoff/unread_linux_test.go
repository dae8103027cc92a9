package handoff

import "testing"

func TestIsRead(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	other, err := NewLink(theirs)
	must(t, err)
	defer other.Close()
	if !link.IsRead() {
		t.Error("nothing was sent, but something is unread")
	}
	must(t, link.Send(within(t), hello()))
	must(t, link.Send(within(t), &Commit{}))
	for i := range 2 {
		if link.IsRead() {
			t.Errorf("everything is read after %d of two messages", i)
		}
		var part [1]byte // a part is not the whole message
		if _, err := other.conn.Read(part[:]); err != nil {
			t.Fatal(err)
		}
		other.buf = append(other.buf, part[:]...)
		if link.IsRead() {
			t.Error("everything is read after a byte")
		}
		if _, err := other.Receive(within(t)); err != nil {
			t.Fatal(err)
		}
		if i == 0 && len(other.buf) > 0 {
			break // both were read at once
		}
	}
	if !link.IsRead() {
		t.Error("messages that were read count as unread")
	}
}
