package bed

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestKilled ends a process and waits for that; one that is gone is no error.
func TestKilled(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := killed(cmd.Process.Pid, time.Now().Add(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want the end by SIGKILL", err)
	}
	if err := killed(cmd.Process.Pid, time.Now().Add(20*time.Second)); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}
