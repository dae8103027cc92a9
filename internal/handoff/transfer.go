package handoff

// While it drains, the old process can transfer open connections to its successor, over a link of their own:
//
//	old                                          new
//	Offer, with a descriptor               -->
//	                                       <--   Taken, or Refused
//	Revoked                                -->   (nothing more is taken)
//
// Until it has read Taken, the old process keeps the connection, and may go on with it; the successor does not touch it before it
// has sent Taken. If the old process does not want to wait any longer, it shuts its end down for reading, reads what was sent
// before, and sends Revoked. Then what is sent no more is not taken: both processes know the same about each connection. A
// successor that cannot send Taken, and reads the end of the link without Revoked, is the only one to have the connection: the
// old process has died. Therefore the link always has room for Revoked, see [TransferPair], and one that ends in the middle of a
// message says the same as Revoked.
//
// A successor that is replaced itself, while an older generation still drains, gives one end of a new link to its own successor, and
// the other one to the older generation, by Redirect: what that offers from then on goes to who serves.

// MaxTransferState is how many bytes of state can be transferred with a connection.
const MaxTransferState = 64 << 10

// Offer offers a connection, whose descriptor comes with the message.
type Offer struct {
	Seq   int    // of this link
	Name  string // that says who takes it
	State string // for whoever that is
}

// Taken says that the connection is the successor's from now on.
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

// Redirect says where to offer connections from now on: over the link whose descriptor comes with it.
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

// blankTransfer gives an empty message of the kind, or nil if there is none.
func blankTransfer(k kind) Message {
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
