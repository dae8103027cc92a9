// Package e2e has tests of gracehttp with the proxies and clients that services meet: a service is upgraded ten times behind
// nginx and haproxy, and under wrk, h2load, curl, the client of net/http and a browser. None of them may notice.
//
//	apt-get install nginx haproxy wrk nghttp2-client curl chromium
//	go test -race ./...
//
// brings the programs, on Debian, and runs the tests. One whose program is missing is skipped, and says so; with
// GRACE_REQUIRE_E2E=1 it fails. They need no rights, and no network but the loopback interface.
package e2e
