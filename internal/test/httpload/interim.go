package httpload

import (
	"fmt"
	"net/http"
	"slices"
)

// readFinal reads the interim answers to a request and the head of the final one.
func (c *rawClient) readFinal(r request) (*http.Response, error) {
	var interim []int
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: r.method})
		switch {
		case err != nil:
			return nil, broken(err)
		case !isInterim(resp.StatusCode):
			return resp, r.checkInterims(interim)
		}
		if err := checkInterim(resp.StatusCode, connectionOf(resp)); err != nil {
			return nil, err
		}
		interim = append(interim, resp.StatusCode)
	}
}

// isInterim reports whether a final answer follows one with this code.
func isInterim(code int) bool {
	return code >= 100 && code <= 199 && code != http.StatusSwitchingProtocols
}

// checkInterim returns an error if an interim answer has a Connection header: some clients take its
// "close" for the end of the connection, and then miss the final answer.
func checkInterim(code int, connection []string) error {
	if connection != nil {
		return fmt.Errorf("the interim answer %d has the Connection header %q", code, connection)
	}
	return nil
}

// connectionOf returns the Connection header of an answer of HTTP/1.1, from which
// [http.ReadResponse] has removed "close".
func connectionOf(resp *http.Response) []string {
	if resp.Close {
		return []string{"close"}
	}
	return resp.Header["Connection"]
}

// checkInterims compares the codes of the interim answers with those that the request asked for.
func (r request) checkInterims(got []int) error {
	if !slices.Equal(got, r.kind.interim) {
		return fmt.Errorf("the interim answers are %v, not %v", got, r.kind.interim)
	}
	return nil
}
