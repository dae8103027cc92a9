package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A field is a tag of one byte, the length of the value as a varint, and the value: text, a number
// as a zigzag varint, or nested fields. encoding/json would do as well, but its first use takes a
// starting process more time than the rest of this package.

type encoder struct{ buf []byte }

func (e *encoder) string(tag byte, v string) {
	if v == "" {
		return
	}
	e.buf = binary.AppendUvarint(append(e.buf, tag), uint64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) int(tag byte, v int) { e.int64(tag, int64(v)) }

func (e *encoder) int64(tag byte, v int64) {
	if v == 0 {
		return
	}
	var num [binary.MaxVarintLen64]byte
	n := binary.PutVarint(num[:], v)
	e.buf = append(append(e.buf, tag, byte(n)), num[:n]...)
}

// MaxDuration bounds the durations of messages, so that sums of them and the time stay in range. A
// longer one is sent as this one, which is as good as forever.
const MaxDuration = 200 * 365 * 24 * time.Hour

// duration appends microseconds. On 32-bit platforms an int holds only 35 minutes of them.
func (e *encoder) duration(tag byte, v time.Duration) {
	e.int64(tag, min(v, MaxDuration).Microseconds())
}

func (e *encoder) bool(tag byte, v bool) {
	if v {
		e.int(tag, 1)
	}
}

// nested appends a value that consists of fields.
func (e *encoder) nested(tag byte, encode func(*encoder)) {
	inner := encoder{}
	var space [128]byte
	inner.buf = space[:0]
	encode(&inner)
	e.buf = binary.AppendUvarint(append(e.buf, tag), uint64(len(inner.buf)))
	e.buf = append(e.buf, inner.buf...)
}

// element is an element of a list in a message.
type element[T any] interface {
	*T
	encode(e *encoder)
	set(tag byte, value decoder)
}

// encodeList writes a field for each element.
func encodeList[T any, E element[T]](e *encoder, tag byte, list []T) {
	for i := range list {
		e.nested(tag, E(&list[i]).encode)
	}
}

// appendElement reads the field of an element, unless the list has as many as it may have.
func appendElement[T any, E element[T]](list []T, value decoder, what string, most int) []T {
	if len(list) >= most {
		value.refuse(tooMany(what, most))
		return list
	}
	var t T
	value.fields(E(&t).set)
	return append(list, t)
}

func tooMany(what string, most int) error {
	return fmt.Errorf("there are more than the %d %s allowed", most, what)
}

// decoder is the value of a field. A value that cannot be read sets err, which decodeFields
// returns. The value is a string so that text needs no copy.
type decoder struct {
	value string
	err   *error
}

var (
	errCutOff = errors.New("a field is cut off")
	errNumber = errors.New("a field is not a number")
)

func (d decoder) refuse(err error) { *d.err = err }

func (d decoder) string() string { return d.value }

func (d decoder) int() int {
	v := d.int64()
	if int64(int(v)) != v {
		*d.err = errNumber
		return 0
	}
	return int(v)
}

func (d decoder) int64() int64 {
	u, n := uvarint(d.value)
	if n == 0 || n != len(d.value) {
		*d.err = errNumber
		return 0
	}
	return int64(u>>1) ^ -int64(u&1) // zigzag
}

// duration reads microseconds and refuses a negative number and more than MaxDuration.
func (d decoder) duration() time.Duration {
	v := d.int64()
	if v < 0 || v > MaxDuration.Microseconds() {
		if *d.err == nil {
			d.refuse(fmt.Errorf("a duration of %d microseconds is not within 0 and %v",
				v, MaxDuration))
		}
		return 0
	}
	return time.Duration(v) * time.Microsecond
}

func (d decoder) bool() bool { return d.int() != 0 }

func (d decoder) fields(set func(tag byte, value decoder)) {
	if err := decodeFields(d.value, set); err != nil {
		*d.err = err
	}
}

// decodeFields calls set for each field of s.
func decodeFields(s string, set func(tag byte, value decoder)) (err error) {
	for len(s) > 0 {
		length, n := uvarint(s[1:])
		if n == 0 || length > uint64(len(s)-1-n) {
			return errCutOff
		}
		tag, end := s[0], 1+n+int(length)
		set(tag, decoder{value: s[1+n : end], err: &err})
		if err != nil {
			return err
		}
		s = s[end:]
	}
	return nil
}

// uvarint is binary.Uvarint for a string; n is 0 if there is no number.
func uvarint(s string) (v uint64, n int) {
	for n < len(s) && n < binary.MaxVarintLen64 {
		b := s[n]
		v |= uint64(b&0x7f) << (7 * n)
		n++
		if b < 0x80 {
			return v, n
		}
	}
	return 0, 0
}
