//go:build race

package storage

// raceEnabled leaves out, or makes a sample of, what takes minutes under the race detector; the Makefile runs this package without it as well.
const raceEnabled = true
