package handoff

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-grace/grace/internal/fds"
)

// What the other process sends ends in logs, in calls of the system and in arithmetic. Nothing of
// it is believed before it was compared with these bounds.
const (
	maxNumber    = 1 << 30 // of a process or generation
	maxOrdinal   = 1 << 30
	maxHandoffID = 64   // bytes
	maxNetwork   = 64   // bytes
	maxAddress   = 4096 // bytes, PATH_MAX
)

// Check returns an error that names the limit if a value cannot be right.
func (m *Hello) Check() error {
	if err := checkNumbers("the old process", m.PID, m.Generation-1); err != nil {
		return err
	}
	if len(m.Handoff) > maxHandoffID || Printable(m.Handoff) != m.Handoff {
		return fmt.Errorf("%w: the identity %.80q of the handoff is not printable, or has more than"+
			" %d bytes", ErrProtocol, m.Handoff, maxHandoffID)
	}
	for i := range m.Sockets {
		if err := checkRecord(&m.Sockets[i]); err != nil {
			return fmt.Errorf("%w: socket %d: %w", ErrProtocol, i, err)
		}
	}
	for i := range m.Extras {
		if err := m.Extras[i].check(); err != nil {
			return fmt.Errorf("descriptor %d after the link: %w", i, err)
		}
	}
	return nil
}

func (f *ExtraFile) check() error {
	switch f.Use {
	case UseProcess, UseLink:
		return checkNumbers("an older process", f.PID, f.Generation)
	case UseTransfers:
		return checkNumbers("an older process", 1, f.Generation)
	}
	return nil
}

func checkNumbers(whose string, pid, generation int) error {
	if pid < 1 || pid > maxNumber {
		return fmt.Errorf("%w: the PID %d of %s is not within 1 to %d",
			ErrProtocol, pid, whose, maxNumber)
	}
	if generation < 1 || generation > maxNumber {
		return fmt.Errorf("%w: the generation %d of %s is not within 1 to %d",
			ErrProtocol, generation, whose, maxNumber)
	}
	return nil
}

func checkRecord(r *fds.Record) error {
	if err := fds.CheckName(r.Name); err != nil && !r.Given {
		return err
	}
	if len(r.Name) > maxAddress { // of LISTEN_FDNAMES
		return fmt.Errorf("a name has %d bytes, at most %d are allowed", len(r.Name), maxAddress)
	}
	if r.Ordinal < 0 || r.Ordinal > maxOrdinal {
		return fmt.Errorf("the ordinal %d is not within 0 to %d", r.Ordinal, maxOrdinal)
	}
	if len(r.Network) > maxNetwork || len(r.Address) > maxAddress || len(r.File) > maxAddress {
		return fmt.Errorf("the network has %d bytes, the address %d and the file's identity %d: "+
			"at most %d, %d and %d are allowed",
			len(r.Network), len(r.Address), len(r.File), maxNetwork, maxAddress, maxAddress)
	}
	return nil
}

// Printable returns a text of another process for an error or a log: shortened, in one line, and
// without characters that a terminal acts on.
func Printable(text string) string {
	var clean strings.Builder
	for text = shorten(text, maxReason); text != ""; {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == '\n':
			clean.WriteString("; ")
		case r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			quoted := strconv.QuoteToASCII(text[:n])
			clean.WriteString(quoted[1 : len(quoted)-1])
		default:
			clean.WriteString(text[:n])
		}
		text = text[n:]
	}
	return clean.String()
}
