//go:build unix

package grace_test

import "github.com/go-grace/grace/internal/test/exampletest"

// programs are the programs of the examples, which this binary can be.
var programs = []exampletest.Program{
	greet, serveUpgrades, keepJournal, runWorker, serveFromCache, serveOnProbation,
}

// add adds a program that runs on one system only. Package variables call it, before any init runs.
func add(p exampletest.Program) bool {
	programs = append(programs, p)
	return true
}

func init() { exampletest.Main(programs...) }
