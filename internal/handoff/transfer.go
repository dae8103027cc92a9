package handoff

// While it drains, the old process can transfer open connections to its successor over a separate
// link:
//
//	old                                          new
//	Offer, with a descriptor               -->
//	                                       <--   Taken, or Refused
//	Revoked                                -->   (nothing more is taken)
//
// Until it has read Taken, the old process keeps the connection and may continue with it. The
// successor does not touch the connection before it has sent Taken.
//
// If the old process stops waiting, it shuts its end down for reading, reads the messages that were
// sent before, and sends Revoked. The successor can no longer send Taken then, so both processes
// agree about each connection. If the successor cannot send Taken and the link ends without
// Revoked, the old process has died, and the successor alone has the connection. Therefore the link
// always has room for Revoked, see [TransferPair]. A link that ends in the middle of a message
// means the same as Revoked.
//
// If the successor is itself replaced while an older generation still drains, it makes a new link.
// It passes one end to its own successor and sends the other to the older generation with Redirect,
// which offers its connections there from then on.

// MaxTransferState bounds the state that is transferred with a connection, in bytes.
const MaxTransferState = 64 << 10

// Offer offers a connection. Its descriptor comes with the message.
type Offer struct {
	Seq   int    // of this link
	Name  string // of the handler that takes it
	State string // for that handler
}

// Taken says that the successor owns the connection from now on.
type Taken struct {
	Seq int
}

// Refused says that the successor does not take the connection.
type Refused struct {
	Seq    int
	Reason string
}

// Revoked says that the old process keeps every connection for which it has not read Taken.
type Revoked struct{}

// Redirect asks to offer connections over another link from now on. Its descriptor comes with the
// message.
type Redirect struct{}

func (*Offer) kind() kind   { return kindOffer }
func (*Taken) kind() kind   { return kindTaken }
func (*Refused) kind() kind { return kindRefused }
func (*Revoked) kind() kind { return kindRevoked }

func (*Redirect) kind() kind { return kindRedirect }

func (*Revoked) encode(*encoder)    {}
func (*Revoked) set(byte, decoder)  {}
func (*Redirect) encode(*encoder)   {}
func (*Redirect) set(byte, decoder) {}

func (m *Offer) encode(e *encoder) {
	e.int(1, m.Seq)
	e.string(2, m.Name)
	e.string(3, m.State)
}

func (m *Offer) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Seq = value.int()
	case 2:
		m.Name = value.string()
	case 3:
		m.State = value.string()
	}
}

func (m *Taken) encode(e *encoder) { e.int(1, m.Seq) }

func (m *Taken) set(tag byte, value decoder) {
	if tag == 1 {
		m.Seq = value.int()
	}
}

func (m *Refused) encode(e *encoder) {
	e.int(1, m.Seq)
	e.string(2, m.Reason)
}

func (m *Refused) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Seq = value.int()
	case 2:
		m.Reason = value.string()
	}
}

// newTransferMessage returns an empty message of the kind, or nil if the kind is unknown.
func newTransferMessage(k kind) Message {
	switch k {
	case kindOffer:
		return &Offer{}
	case kindTaken:
		return &Taken{}
	case kindRefused:
		return &Refused{}
	case kindRevoked:
		return &Revoked{}
	case kindRedirect:
		return &Redirect{}
	}
	return nil
}
