package handoff

// While it drains, the old process can transfer open connections to its successor over a separate
// link:
//
//	old                                          new
//	Offers, with a descriptor for each     -->
//	                                       <--   Answers
//	Revoked, or Ceded                      -->   (nothing more is taken)
//
// Each message of offers has one message of answers, in the same order and with the same number.
// Until it has read the answer, the old process keeps a connection and may continue with it. The
// successor does not touch a connection before it has sent that it takes it.
//
// If the successor cannot open as many descriptors, the system drops the last ones. An offer whose
// descriptor is missing is refused.
//
// If the old process stops waiting, it shuts its end down for reading, reads the messages that were
// sent before, and sends Revoked. The successor can no longer send Answers then, so both processes
// agree about each connection. If the successor cannot send Answers and the link ends without
// Revoked, the old process has died, and the successor alone has the connections. Therefore the
// link always has room for Revoked, see [TransferPair]. A link that ends in the middle of a message
// means the same as Revoked.
//
// If the old process cannot read or understand what the successor has sent, it cannot know which
// connections the successor took. Then it gives up all of those without an answer, and sends Ceded
// instead of Revoked. A successor that could not send Answers has those connections.
//
// If the successor is itself replaced while an older generation still drains, it makes a new link.
// It passes one end to its own successor and sends the other to the older generation with Redirect,
// which offers its connections there from then on.
//
// A process that does not know the type of a message ends the link, and the connections stay with
// the old process. So a message that changes its meaning needs another type, and the version of the
// protocol can stay. The types O, Y and N were those of single offers and their answers.

// MaxTransferState bounds the state that is transferred with a connection, in bytes.
const MaxTransferState = 64 << 10

// MaxOffers is how many connections one message offers.
const MaxOffers = 32

// Offers offers connections. A descriptor for each comes with the message, in the same order.
type Offers struct {
	Offers []Offer
	Number int // of the message on its link, from 1 on
}

// Offer is the offer of one connection.
type Offer struct {
	Name  string // of the handler that takes it
	State string // for that handler
}

// Answers answers each offer of a message, in the same order.
type Answers struct {
	Answers []Answer
	Number  int // of the Offers; 0 from a process that does not know numbers
}

// Answer is the answer to an offer.
type Answer struct {
	Taken  bool   // the successor owns the connection from now on
	Reason string // why it does not
}

// Revoked says that the old process keeps every connection for which it has not read an answer.
type Revoked struct{}

// Ceded says that the successor has every connection for which the old process has not read an
// answer.
type Ceded struct{}

// Redirect asks to offer connections over another link from now on. Its descriptor comes with the
// message.
type Redirect struct{}

func (*Offers) kind() kind  { return kindOffers }
func (*Answers) kind() kind { return kindAnswers }
func (*Revoked) kind() kind { return kindRevoked }

func (*Ceded) kind() kind { return kindCeded }

func (*Redirect) kind() kind { return kindRedirect }

func (*Revoked) encode(*encoder)    {}
func (*Revoked) set(byte, decoder)  {}
func (*Ceded) encode(*encoder)      {}
func (*Ceded) set(byte, decoder)    {}
func (*Redirect) encode(*encoder)   {}
func (*Redirect) set(byte, decoder) {}

func (m *Offers) encode(e *encoder) {
	encodeList(e, 1, m.Offers)
	e.int(2, m.Number)
}

func (m *Offers) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Offers = appendElement(m.Offers, value, "offers", MaxOffers)
	case 2:
		m.Number = value.int()
	}
}

func (o *Offer) encode(e *encoder) {
	e.string(1, o.Name)
	e.string(2, o.State)
}

func (o *Offer) set(tag byte, value decoder) {
	switch tag {
	case 1:
		o.Name = value.string()
	case 2:
		o.State = value.string()
	}
}

func (m *Answers) encode(e *encoder) {
	encodeList(e, 1, m.Answers)
	e.int(2, m.Number)
}

func (m *Answers) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Answers = appendElement(m.Answers, value, "answers", MaxOffers)
	case 2:
		m.Number = value.int()
	}
}

func (a *Answer) encode(e *encoder) {
	e.bool(1, a.Taken)
	e.string(2, a.Reason)
}

func (a *Answer) set(tag byte, value decoder) {
	switch tag {
	case 1:
		a.Taken = value.bool()
	case 2:
		a.Reason = value.string()
	}
}

// descriptors returns how many descriptors may come with a message.
func descriptors(m Message) int {
	switch m := m.(type) {
	case *Offers:
		return len(m.Offers)
	case *Redirect:
		return 1
	}
	return 0
}

// newTransferMessage returns an empty message of the kind, or nil if the kind is unknown.
func newTransferMessage(k kind) Message {
	switch k {
	case kindOffers:
		return &Offers{}
	case kindAnswers:
		return &Answers{}
	case kindRevoked:
		return &Revoked{}
	case kindCeded:
		return &Ceded{}
	case kindRedirect:
		return &Redirect{}
	}
	return nil
}
