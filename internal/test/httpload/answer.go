package httpload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// answer is the body of one: some text, and a block that is repeated.
type answer struct {
	head   string
	block  string
	blocks int
}

func firstLine(method, id string) string { return method + " " + id + "\n" }

// blockOf repeats a line: what is compared should be in large pieces.
func blockOf(line string) string { return strings.Repeat(line, 1+2000/len(line)) }

func (a answer) reader() io.Reader {
	if a.blocks == 0 {
		return strings.NewReader(a.head)
	}
	return io.MultiReader(strings.NewReader(a.head), &repeater{block: a.block, left: a.blocks})
}

// repeater reads a block again and again.
type repeater struct {
	block string
	left  int
	at    int // in the block
}

func (r *repeater) Read(b []byte) (n int, err error) {
	for r.left > 0 && n < len(b) {
		copied := copy(b[n:], r.block[r.at:])
		n, r.at = n+copied, r.at+copied
		if r.at == len(r.block) {
			r.left--
			r.at = 0
		}
	}
	if n == 0 && r.left == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// check compares the answer to a request with the right one, and reads it to its end.
func (r request) check(resp *http.Response, c *comparer) error {
	id, method := resp.Header.Get(idHeader), resp.Header.Get(methodHeader)
	switch {
	case id != "" && id != r.id:
		return fmt.Errorf("it is the answer to %q", id)
	case resp.StatusCode != http.StatusOK:
		text, err := io.ReadAll(io.LimitReader(resp.Body, 200))
		return errors.Join(fmt.Errorf("status %s: %q", resp.Status, text), err)
	case resp.ProtoMajor == 2 && resp.Header["Connection"] != nil:
		return fmt.Errorf("the answer has the Connection header %q", resp.Header["Connection"])
	case !r.handled() && id == "" && method == "":
	case id == "" || method != r.method:
		return fmt.Errorf("the answer has the id %q and the method %q", id, method)
	}
	want := r.want
	if method == http.MethodHead {
		want = answer{}
	}
	return c.compare(resp.Body, want.reader())
}

// comparer compares what is read with what should be.
type comparer struct {
	got, want [16 << 10]byte
}

func (c *comparer) compare(got, want io.Reader) error {
	for at := 0; ; {
		n, err := got.Read(c.got[:])
		m, short := io.ReadFull(want, c.want[:n])
		switch {
		case n > 0 && (short != nil || !bytes.Equal(c.got[:n], c.want[:m])):
			return fmt.Errorf(
				"the answer is not the expected one within %d bytes after byte %d: %.60q",
				n, at, c.got[:n])
		case errors.Is(err, io.EOF):
			return ended(want, at+n)
		case err != nil:
			return fmt.Errorf("after %d bytes of the answer: %w", at+n, err)
		}
		at += n
	}
}

// ended is for an answer without an error that is over.
func ended(want io.Reader, at int) error {
	missing, err := io.Copy(io.Discard, want)
	if err == nil && missing > 0 {
		err = fmt.Errorf("the answer has %d bytes, %d are missing", at, missing)
	}
	return err
}
