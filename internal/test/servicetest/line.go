//go:build linux

package servicetest

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// parser says what a line means, and from whom it is.
type parser[L any] func(text string) (line L, from origin, err error)

// origin is the process that has printed a line, if that tells.
type origin struct {
	pid, generation int
	ready           bool // it has become ready by then
}

func parseJSON[L any](text string) (line L, from origin, err error) {
	var event struct {
		PID, Generation int
		What, Err       string
	}
	err = errors.Join(json.Unmarshal([]byte(text), &line), json.Unmarshal([]byte(text), &event))
	ready := event.What == "ReadyFinished" && event.Err == ""
	return line, origin{event.PID, event.Generation, ready}, err
}

var logged = regexp.MustCompile(` generation=(\d+) pid=(\d+) `)

func parseLog(text string) (string, origin, error) {
	found := logged.FindStringSubmatch(text)
	if found == nil {
		return text, origin{}, nil
	}
	generation, _ := strconv.Atoi(found[1]) // digits
	pid, _ := strconv.Atoi(found[2])
	return text, origin{pid, generation, strings.Contains(text, " INFO ready ")}, nil
}
