package handoff

import "github.com/go-grace/grace/internal/fds"

func (m *Hello) encode(e *encoder) {
	e.int(1, m.Version)
	e.int(2, m.PID)
	e.int(3, m.Generation)
	e.string(4, m.Handoff)
	e.duration(5, m.Timeout)
	for i := range m.Sockets {
		e.nested(6, func(e *encoder) { encodeRecord(e, &m.Sockets[i]) })
	}
	e.duration(7, m.Drain)
	encodeList(e, 8, m.Extras)
	e.bool(9, m.Environ != nil) // it may be empty
	for _, entry := range m.Environ {
		e.string(10, entry)
	}
}

func (m *Hello) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Version = value.int()
	case 2:
		m.PID = value.int()
	case 3:
		m.Generation = value.int()
	case 4:
		m.Handoff = value.string()
	case 5:
		m.Timeout = value.duration()
	case 6:
		if len(m.Sockets) >= MaxSockets {
			value.refuse(tooMany("sockets", MaxSockets))
			return
		}
		var r fds.Record
		value.fields(func(tag byte, value decoder) { setRecord(&r, tag, value) })
		m.Sockets = append(m.Sockets, r)
	case 7:
		m.Drain = value.duration()
	case 8:
		m.Extras = appendElement(m.Extras, value, "extra files", MaxExtras)
	case 9:
		m.Environ = []string{}
	case 10:
		if len(m.Environ) >= MaxEnviron {
			value.refuse(tooMany("variables", MaxEnviron))
			return
		}
		m.Environ = append(m.Environ, value.string())
	}
}

func (f *ExtraFile) encode(e *encoder) {
	e.int(1, int(f.Use))
	e.int(2, f.PID)
	e.int(3, f.Generation)
	e.string(4, f.Name)
	e.bool(5, f.Legacy)
}

func (f *ExtraFile) set(tag byte, value decoder) {
	switch tag {
	case 1:
		f.Use = Use(value.int())
	case 2:
		f.PID = value.int()
	case 3:
		f.Generation = value.int()
	case 4:
		f.Name = value.string()
	case 5:
		f.Legacy = value.bool()
	}
}

func (m *Commit) encode(e *encoder) {
	encodeList(e, 1, m.Followed)
}

func (m *Commit) set(tag byte, value decoder) {
	if tag == 1 {
		m.Followed = appendElement(m.Followed, value, "older generations", MaxGenerations)
	}
}

func (f *Followed) encode(e *encoder) {
	e.int(1, f.Generation)
	e.duration(2, f.Left)
	e.string(3, f.Heard)
}

func (f *Followed) set(tag byte, value decoder) {
	switch tag {
	case 1:
		f.Generation = value.int()
	case 2:
		f.Left = value.duration()
	case 3:
		f.Heard = value.string()
	}
}

func encodeRecord(e *encoder, r *fds.Record) {
	e.string(1, r.Name)
	e.string(2, r.Network)
	e.string(3, r.Address)
	e.int(4, r.Ordinal)
	e.bool(5, r.Given)
	e.string(6, r.File)
	e.string(7, r.Path)
	e.string(8, r.Traits.Namespace)
	e.string(9, r.Traits.Device)
	e.string(10, r.Traits.Options)
}

func setRecord(r *fds.Record, tag byte, value decoder) {
	switch tag {
	case 1:
		r.Name = value.string()
	case 2:
		r.Network = value.string()
	case 3:
		r.Address = value.string()
	case 4:
		r.Ordinal = value.int()
	case 5:
		r.Given = value.bool()
	case 6:
		r.File = value.string()
	case 7:
		r.Path = value.string()
	case 8:
		r.Traits.Namespace = value.string()
	case 9:
		r.Traits.Device = value.string()
	case 10:
		r.Traits.Options = value.string()
	}
}

func (m *Accept) encode(e *encoder) { e.duration(1, m.Probation) }

func (m *Accept) set(tag byte, value decoder) {
	if tag == 1 {
		m.Probation = value.duration()
	}
}

func (m *Failed) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Failed) set(tag byte, value decoder) { setReason(&m.Reason, tag, value) }

func (m *Abort) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Abort) set(tag byte, value decoder) { setReason(&m.Reason, tag, value) }

func (m *Leave) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Leave) set(tag byte, value decoder) { setReason(&m.Reason, tag, value) }

// setReason reads the only field of a message that consists of a reason.
func setReason(reason *string, tag byte, value decoder) {
	if tag == 1 {
		*reason = value.string()
	}
}

func (m *Drained) encode(e *encoder) {
	e.duration(1, m.Duration)
	e.string(2, m.Error)
	encodeList(e, 3, m.Cut)
}

func (m *Drained) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Duration = value.duration()
	case 2:
		m.Error = value.string()
	case 3:
		m.Cut = appendElement(m.Cut, value, "sockets", MaxSockets)
	}
}

func (c *Cut) encode(e *encoder) {
	e.string(1, c.Socket)
	e.int(2, c.Connections)
}

func (c *Cut) set(tag byte, value decoder) {
	switch tag {
	case 1:
		c.Socket = value.string()
	case 2:
		c.Connections = value.int()
	}
}
