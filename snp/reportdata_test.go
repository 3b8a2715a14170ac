package snp

import "testing"

// What the host can ask for is never what a workload gets over the same bytes, and every kind leaves the last 32 bytes to others.
func TestReportDataDomainsAreDisjoint(t *testing.T) {
	for _, nonce := range [][]byte{nil, make([]byte, 16), []byte("a nonce of somebody, who is a workload's key as well")} {
		host, workload := HostReportData(nonce), HashedReportData(nonce)
		if host == workload {
			t.Errorf("nonce %x: the host gets the workload's REPORT_DATA", nonce)
		}
		for _, d := range [][64]byte{host, workload} {
			if [32]byte(d[32:]) != [32]byte{} {
				t.Errorf("nonce %x: got %x, want 32 zero bytes at the end", nonce, d)
			}
		}
	}
}
