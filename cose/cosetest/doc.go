// Package cosetest makes certificate chains, documents and ledgers for tests, all in memory. Its times are fixed and past, so that a test
// that passes does not depend on a clock.
package cosetest
