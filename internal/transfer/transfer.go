// Package transfer moves open connections from a draining process to its successor. It promises
// that exactly one process has a connection, whichever of them dies, hangs or refuses meanwhile.
//
// The old process offers a connection with a [Sender]. The new process takes it with a [Receiver],
// which calls one of its [Handlers]: the one with the name in the offer. Offers and answers travel
// over a link of their own; internal/handoff/transfer.go describes the messages.
//
//   - An offer carries a descriptor of the connection, so both processes hold the socket for a
//     while. Only the old process may use it, until it reads that the new one takes it.
//   - The new process calls the handler after it has sent this answer, and not before.
//   - An old process that waits for an answer in vain shuts down its end for reading, reads the
//     answers sent before that, and sends Revoked. What is not answered by then stays with it.
//   - If the old process cannot read or understand an answer, it cannot know whether the new one
//     has the connection. It gives up those without an answer, and sends Ceded instead of Revoked:
//     one that the new process has refused ends, but none has two owners. An error is not the end
//     of the other process: only the end of the link is.
//   - A new process that cannot send its answer is not sure whether the old one keeps the
//     connection. If the link ends without Revoked and the old process is gone, the connection is
//     its own. Otherwise it closes its descriptor.
//   - A new process that is replaced in turn sends a [Redirect] to each older generation that still
//     has connections. From then on that generation offers them to the next process.
//
// When Send returns nil, another process has the connection. When it returns an error, this process
// keeps it: no other one has used it or ever will. The link has room for every unanswered offer and
// for Revoked after them, so a process that does not read cannot block this decision.
//
// Transfers need Linux; elsewhere there are no links for them, and connections stay where they are.
// A process that hangs may keep its descriptor open, and with it the socket, until it goes on.
//
// The owner of the package makes the links, counts the calls of handlers, and knows when the
// process of an older generation is gone.
package transfer

import (
	"errors"
	"os"

	"github.com/go-grace/grace/internal/handoff"
)

// MaxState is the number of bytes of state that can accompany a connection.
const MaxState = handoff.MaxTransferState

var (
	// ErrNoSuccessor is matched by the error of Send if no other process can take the connection.
	ErrNoSuccessor = errors.New("grace: no successor takes connections")

	// ErrRefused is matched by the error of Send if the other process refused the connection.
	ErrRefused = errors.New("grace: the successor refused the connection")
)

// Pair makes a link and the file of its other end, like [handoff.TransferPair]. Both are nil where
// the system offers no safe transfers. A nil Pair makes neither.
type Pair func() (*handoff.Link, *os.File, error)

func (p Pair) make() (*handoff.Link, *os.File, error) {
	if p == nil {
		return nil, nil, nil
	}
	return p()
}
