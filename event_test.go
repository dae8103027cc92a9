package grace

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// events has one of each kind.
var events = []Event{
	SocketOpened{Socket{Name: "web", Network: "tcp", Addr: &net.TCPAddr{Port: 80}, Inherited: true}},
	SocketsAbandoned{Sockets: []string{"tcp :81"}},
	PassedAbandoned{Files: []string{"access.log"}, States: []string{"sessions"}},
	ReadyStarted{},
	ReadyFinished{Duration: time.Second, Err: errors.New("cause")},
	UpgradeStarted{},
	UpgradeFinished{Duration: time.Second, Successor: 12, Err: errors.New("cause")},
	CheckStarted{Executable: "/bin/x"},
	CheckFinished{Executable: "/bin/x", Duration: time.Second, Err: errors.New("cause")},
	SuccessorStarted{PID: 12, Executable: "/bin/x", Sockets: 3},
	HookStarted{Hook: "OnDrain", Name: "db"},
	HookFinished{Hook: "OnDrain", Name: "db", Duration: time.Second, Err: errors.New("cause")},
	DrainStarted{Upgraded: true, Timeout: time.Minute},
	DrainFinished{Duration: time.Second, Err: errors.New("cause")},
	ProbationStarted{Timeout: time.Second},
	ProbationFinished{Duration: time.Second, Err: errors.New("cause")},
	ParentExited{Exit{Process: Process{PID: 11, Generation: 1}, Drained: true, Drain: time.Second, Err: errors.New("cause")}},
	AncestorExited{Exit{Process: Process{PID: 10, Generation: 1}, Drained: true, Err: errors.New("cause"), Cut: []Cut{{"tcp :80", 3}}, Signal: syscall.SIGTERM}},
	AncestorSignalled{Process: Process{PID: 10, Generation: 1}, Signal: syscall.SIGTERM},
	SuccessorSignalled{PID: 12},
	SignalReceived{Signal: syscall.SIGTERM},
	Warned{Err: errors.New("cause")},
	Reported{fakeReport{}},
}

type fakeReport struct{}

func (fakeReport) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "something is done", []slog.Attr{slog.Int("things", 3)}
}

// An event type that this test does not know would be one that nobody has looked at in a log.
func TestEveryEventIsLogged(t *testing.T) {
	known := map[string]bool{}
	for _, e := range events {
		known[reflect.TypeOf(e).Name()] = true
		var out bytes.Buffer
		log := logObserver{slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		log.Observe(Record{Generation: 2, PID: 34, Role: RoleServing, Handoff: "abc", Event: e})
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["generation"] != 2.0 || line["pid"] != 34.0 || line["role"] != "serving" || line["handoff"] != "abc" || line["msg"] == "" {
			t.Errorf("%T is logged as %s", e, out.String())
		}
		if f := reflect.ValueOf(e).FieldByName("Err"); f.IsValid() && !strings.Contains(out.String(), "cause") {
			t.Errorf("%T is logged without its error: %s", e, out.String())
		}
		if f := reflect.ValueOf(e).FieldByName("Err"); f.IsValid() && line["level"] != "ERROR" && line["level"] != "WARN" {
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
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "describe" {
			names = append(names, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	if len(names) == 0 {
		t.Fatal("found no event types")
	}
	return names
}

// What has started is finished, in both outcomes, and both processes would speak of one handoff.
func TestEventsOfAnUpgradeComeInPairs(t *testing.T) {
	for name, script := range map[string]func(*fakeSuccessor){
		"success": upright,
		"failure": func(f *fakeSuccessor) { f.hear(); f.hangUp() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				open := map[string]int{}
				handoffs := map[string]bool{}
				r := newRig(t, WithObserver(ObserverFunc(func(rec Record) {
					mu.Lock()
					defer mu.Unlock()
					kind := reflect.TypeOf(rec.Event).Name()
					if base, ok := strings.CutSuffix(kind, "Started"); ok && base != "Successor" {
						open[base]++
					} else if base, ok := strings.CutSuffix(kind, "Finished"); ok {
						open[base]--
					}
					if strings.HasPrefix(kind, "Upgrade") {
						handoffs[rec.Handoff] = true
					}
				})))
				r.script = script
				_ = r.Upgrade(t.Context())
				r.finish(t)
				for base, n := range open {
					if n != 0 {
						t.Errorf("%sStarted and %sFinished differ by %d", base, base, n)
					}
				}
				if len(handoffs) != 1 || handoffs[""] {
					t.Errorf("one upgrade has the ids %v", handoffs)
				}
			})
		})
	}
}
