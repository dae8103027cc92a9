//go:build linux

package grace

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// envMain chooses which program the test binary is when it starts itself.
const envMain = "GRACE_TEST_MAIN"

// mains are the programs that this binary can be.
var mains = map[string]func(config) error{
	"lines":  linesMain,
	"owner":  ownerMain,
	"faulty": faultyMain,
	"floor":  floorMain,
	"many":   manyMain,
	"helper": helperMain,
	"init":   initMain,
	"limits": limitsMain,
	"pass":   passMain,

	"transferring": transferMain,

	"migrating": migratingMain,
	"tool":      toolMain,
	"forger":    forgerMain,
}

var usedMains sync.Map

func TestMain(m *testing.M) {
	servicetest.Main(runMain)
	// What whoever runs the tests has left open would go from process to process, until a passed descriptor takes its number.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "hide stray descriptors:", err)
	}
	// Orphans become our children, so that tests can wait for every generation and learn how it ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a subreaper:", err)
		os.Exit(1)
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) { // nobody has set it
		_ = flag.Set("test.parallel", "8") // these tests wait, for real time to pass in real processes
	}
	code := m.Run()
	if code == 0 {
		code = checkLeftovers()
	}
	os.Exit(code)
}

// command is this binary as one of the programs.
func command(name string, c config) *exec.Cmd {
	usedMains.Store(name, true)
	cmd := servicetest.Command(c, c.Args...)
	cmd.Env = append(cmd.Env, envMain+"="+name)
	return cmd
}

func runMain(c config) error {
	name := os.Getenv(envMain)
	if err := mains[name](c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkLeftovers looks for goroutines and processes that tests have left, and for mains that none of them has used.
func checkLeftovers() int {
	var problems []string
	if err := goleak.Find(); err != nil {
		problems = append(problems, err.Error())
	}
	if kids := remaining(); len(kids) > 0 {
		problems = append(problems, fmt.Sprintf("processes left over: %v", kids))
	}
	if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.run=") }) {
		for name := range maps.Keys(mains) {
			if _, ok := usedMains.Load(name); !ok && name != "floor" && name != "many" { // these two are for benchmarks
				problems = append(problems, "no test uses the main "+name)
			}
		}
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	return min(len(problems), 1)
}

// remaining lists the processes that do not end. One that a test has killed may need a moment for that.
func remaining() (kids []string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		kids = children()
		for _, kid := range kids {
			if pid, err := strconv.Atoi(kid); err == nil {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // an orphan, for which no test waits any longer
			}
		}
		if len(kids) == 0 || time.Now().After(deadline) {
			return kids
		}
	}
}

// children lists the processes whose parent is this one, zombies included.
func children() []string {
	var kids []string
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		list, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		kids = append(kids, strings.Fields(string(list))...)
	}
	return kids
}
