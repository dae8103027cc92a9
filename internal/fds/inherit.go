package fds

import "fmt"

// Inherit takes the announced descriptors into a new Set, which owns them from then on. Each of
// them must be open and must have come through exec; it is made close-on-exec. After an error,
// those that came through exec are closed.
//
// A parent that uses this package describes its sockets by records, which the Set takes. Without a
// description (nil), each descriptor must be a socket that a Listen function can return.
func Inherit(a Announced, records []Record) (*Set, error) {
	described := records != nil
	if !described {
		records = recordsOf(a)
	}
	if err := checkAll(a.Count, records, described); err != nil {
		Discard(a)
		return nil, err
	}
	setCloexec(First, a.Count)
	s := New()
	s.inherited = newInheritance(records)
	return s, nil
}

// Discard closes the announced descriptors that came through exec.
func Discard(a Announced) {
	for fd := First; fd < First+a.Count; fd++ {
		if CheckInherited(fd) == nil {
			_ = closeFD(fd)
		}
	}
}

// recordsOf returns records for descriptors that only the environment describes. It stops at the
// first that is not there: a false count must not cost memory.
func recordsOf(a Announced) []Record {
	records := []Record{}
	for i := range a.Count {
		if CheckInherited(First+i) != nil {
			break
		}
		r := Record{Given: true}
		if i < len(a.Names) {
			r.Name = a.Names[i]
		}
		records = append(records, r)
	}
	return records
}

func checkAll(count int, records []Record, described bool) error {
	if described {
		if len(records) != count {
			return fmt.Errorf("%w: %s counts %d descriptors, and the parent describes %d",
				ErrEnvironment, envCount, count, len(records))
		}
		return nil // the parent has just passed the sockets that it describes
	}
	for fd := First; fd < First+count; fd++ {
		if err := CheckInherited(fd); err != nil {
			return fmt.Errorf("%w: %s=%d announces descriptors %d to %d, but %w: %s",
				ErrEnvironment, envCount, count, First, First+count-1, err, remedy)
		}
		if f := inspect(fd); !f.servable() {
			d := &descriptor{fd: fd, record: &records[fd-First]}
			return fmt.Errorf("%w: %s is %s: only listening and datagram sockets can be taken over",
				ErrEnvironment, d, f)
		}
	}
	return nil
}
