package graceevent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var errCause = errors.New("cause")

// events has one of each kind, with everything that it can say.
var events = []Event{
	Inherited{Parent: &Process{11, 1}, Sockets: 2, Files: []string{"log"}, States: []string{"sessions"}},
	SocketOpened{Socket{Name: "web", Network: "tcp", Addr: &net.TCPAddr{Port: 80}, Inherited: true}},
	ListenFailed{Network: "tcp", Address: ":80", Err: errCause},
	SocketsAbandoned{Sockets: []string{"tcp :81"}},
	InheritedAbandoned{Files: []string{"access.log"}, States: []string{"sessions"}},
	PathIgnored{Path: "/srv/current", Executable: "/srv/v1", Err: errCause},
	AnnouncementIgnored{},
	ReadyStarted{},
	Announced{},
	ReadyFinished{Duration: time.Second, Err: errCause},
	UpgradeStarted{},
	UpgradeFinished{Duration: time.Second, Successor: 12, Err: errCause},
	CheckStarted{Executable: "/bin/x"},
	CheckFinished{Executable: "/bin/x", Duration: time.Second, Err: errCause},
	SuccessorStarted{PID: 12, Executable: "/bin/x", Sockets: 3},
	SuccessorReady{PID: 12, Duration: time.Second},
	SuccessorSignalled{PID: 12, Late: true},
	ProbationStarted{Timeout: time.Second},
	ProbationFinished{Duration: time.Second, Err: errCause},
	ProbationSkipped{PID: 12},
	StillAccepting{Err: errCause},
	Committed{},
	ParentDied{Err: errCause},
	SupervisorUntold{Supervisor: "systemd"},
	GivenBack{Err: errCause},
	HookStarted{Hook: "OnDrain", Name: "db"},
	HookFinished{Hook: "OnDrain", Name: "db", Duration: time.Second, Err: errCause},
	PartFailed{Err: errCause},
	ObserverFailed{Event: ReadyStarted{}, Err: errCause},
	TransferHandlerFailed{Name: "chat", Err: errCause},
	StopDelayed{Delay: time.Second},
	DrainStarted{Upgraded: true, Timeout: time.Minute},
	DrainFinished{Duration: time.Second, Transferred: 2, Cut: []Cut{{"tcp :80", 3}}, Err: errCause},
	ParentExited{Exit{Process: Process{11, 1}, Drained: true, Drain: time.Second, Err: errCause}},
	AncestorExited{Exit{
		Process: Process{10, 1}, Drained: true, Err: errCause, Cut: []Cut{{"tcp :80", 3}},
		Signal: syscall.SIGTERM, State: "exit status 0",
	}},
	AncestorSignalled{Process: Process{10, 1}, Signal: syscall.SIGTERM},
	AncestorStays{Process: Process{10, 1}, Err: errCause},
	SignalReceived{Signal: syscall.SIGTERM},
	SignalIgnored{Signal: syscall.SIGTERM, Err: errCause},
	SignalsReleased{Signals: []os.Signal{syscall.SIGTERM}},
	TerminalClosed{},
	PIDFileFailed{Err: errCause},
	PathRebound{Path: "/run/x", Err: errCause},
	PathLost{Path: "/run/x", Err: errCause},
}

// record is an event as it is logged.
func record(t *testing.T, e Event) map[string]any {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	Logger(log).Observe(t.Context(), Record{
		Generation: 2, PID: 34, Role: RoleServing, Handoff: "abc", Event: e,
	})
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	return line
}

// An event type that this test does not know would be one that nobody has looked at in a log.
func TestEveryEventIsLogged(t *testing.T) {
	known := map[string]bool{}
	for _, e := range events {
		known[reflect.TypeOf(e).Name()] = true
		line := record(t, e)
		if line["generation"] != 2.0 || line["pid"] != 34.0 || line["role"] != "serving" ||
			line["handoff"] != "abc" || line["msg"] == "" {
			t.Errorf("%T is logged as %v", e, line)
		}
		f := reflect.ValueOf(e).FieldByName("Err")
		if f.IsValid() && !strings.Contains(line["error"].(string), "cause") {
			t.Errorf("%T is logged without its error: %v", e, line)
		}
		if f.IsValid() && line["level"] != "ERROR" && line["level"] != "WARN" {
			t.Errorf("%T with an error is logged at %s", e, line["level"])
		}
	}
	for _, name := range eventTypes(t) {
		if !known[name] {
			t.Errorf("%s is not tested", name)
		}
	}
}

// eventTypes reads the source for the types that implement Event.
func eventTypes(t *testing.T) (names []string) {
	t.Helper()
	product := func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }
	packages, err := parser.ParseDir(token.NewFileSet(), ".", product, 0) //nolint:staticcheck // no build tags here
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range packages["graceevent"].Files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "Describe" {
				names = append(names, f.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("found no event types")
	}
	return names
}

// A log can be queried only by keys that are known before: what differs from one service to another
// is a value.
func TestAddressIsAValue(t *testing.T) {
	line := record(t, DrainFinished{Cut: []Cut{{"tcp 127.0.0.1:80", 3}, {"unix /run/x", 2}}})
	if line["cut"] != 5.0 || line["level"] != "WARN" {
		t.Errorf("logged as %v", line)
	}
	for key := range line {
		if strings.ContainsAny(key, ":/. ") {
			t.Errorf("%q is a key", key)
		}
	}
	listed, _ := line["cut_by_listener"].([]any)
	if len(listed) != 2 || listed[0] != "3 of tcp 127.0.0.1:80" {
		t.Errorf("by listener: %v", listed)
	}
}

// traceHandler is a handler that looks for a value of the context, as those of tracing do.
type traceHandler struct {
	slog.Handler
	found any
}

type traceKey struct{}

func (h *traceHandler) Handle(ctx context.Context, _ slog.Record) error {
	h.found = ctx.Value(traceKey{})
	return nil
}

func TestContextReachesTheHandler(t *testing.T) {
	h := &traceHandler{Handler: slog.NewTextHandler(&bytes.Buffer{}, nil)}
	Logger(slog.New(h)).Observe(context.WithValue(t.Context(), traceKey{}, 7), Record{Event: UpgradeStarted{}})
	if h.found != 7 {
		t.Errorf("the handler got %v", h.found)
	}
}

func TestLevelThatIsOffIsNotLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	Logger(log).Observe(t.Context(), Record{Event: ReadyStarted{}})
	if out.Len() > 0 {
		t.Errorf("logged %q", out.String())
	}
}
