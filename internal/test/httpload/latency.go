package httpload

import (
	"math/bits"
	"time"
)

// Latencies are how long requests took, from the first byte, or from dialling, to the last byte of
// the answer. It does not count those that are meant to take long, such as "slow", nor those that
// have failed. The zero value is empty.
type Latencies struct {
	count [64 * steps]int // by bucketOf
	total int
	max   time.Duration
}

// steps divide each power of two: what Quantile tells is up to a 16th too much.
const (
	stepBits = 4
	steps    = 1 << stepBits
)

func bucketOf(d time.Duration) int {
	exponent := max(bits.Len64(uint64(d))-stepBits-1, 0)
	return exponent*steps + int(d>>exponent)
}

// endOf is the first duration that is in a later bucket.
func endOf(bucket int) time.Duration {
	exponent := max(bucket/steps-1, 0)
	return time.Duration(bucket-exponent*steps+1) << exponent
}

func (l *Latencies) add(d time.Duration) {
	d = max(d, 0)
	l.count[bucketOf(d)]++
	l.total++
	l.max = max(l.max, d)
}

func (l *Latencies) join(other *Latencies) {
	for i, n := range other.count {
		l.count[i] += n
	}
	l.total += other.total
	l.max = max(l.max, other.max)
}

// Quantile returns a duration that the fraction q of the requests did not exceed: 0.5 is for the
// median. Without requests it is 0.
func (l *Latencies) Quantile(q float64) time.Duration {
	most := int(q * float64(l.total)) // that may be faster
	for bucket, n := range l.count {
		if most -= n; most < 0 {
			return min(endOf(bucket), l.max)
		}
	}
	return l.max
}

// Max returns the longest.
func (l *Latencies) Max() time.Duration { return l.max }
