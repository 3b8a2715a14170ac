//go:build race

package verify_test

// raceEnabled shortens what takes minutes under the race detector.
const raceEnabled = true
