package containerd_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fetch gets nginx's page from the other container, once that listens.
var fetch = shell("until wget -q -O - http://127.0.0.1:8080/; do sleep 0.2; done 2>/dev/null")

const pageText = "Hello from inside a confidential VM"

// TestPodLife is a pod as kubelet runs it, from its sandbox to its removal, both ways that containerd has.
func TestPodLife(t *testing.T) {
	for _, handler := range bothHandlers {
		t.Run(handler, func(t *testing.T) {
			n := shared(t)
			files := shell("cat /etc/hostname /etc/hosts /etc/resolv.conf")
			words := shell("echo out; echo err >&2; exit 7")
			secrets := shell("cat /var/run/secrets/kubernetes.io/serviceaccount/token")
			p := n.run(n.policed(webPod(t, "life", fetch, files, words, secrets)), handler)
			p.wantExec("client", fetch, 0, pageText)
			p.wantExec("client", words, 7, "out\n", "err\n")
			p.wantExec("client", files, 0, "life", "127.0.0.1", "nameserver "+p.nameserver(), "search default.svc.cluster.local")
			p.wantExec("client", secrets, 0, "eyJ.first.token")
			p.wantRefusedExec("client", "/usr/bin/id")
			p.wantStats("nginx", "client")
			p.wantForwarded()
			p.wantStatus()
			p.stopOne()
		})
	}
}

func (p *pod) nameserver() string {
	status, err := p.n.Runtime.PodSandboxStatus(p.n.ctx, p.ID, false)
	if err != nil {
		p.n.t.Fatal(err)
	}
	ip := status.GetStatus().GetNetwork().GetIp()
	if ip == "" {
		p.n.t.Fatal("the pod has no address")
	}
	return ip[:strings.LastIndexByte(ip, '.')] + ".1"
}

// wantExec runs a command as a probe does and looks for words in what it wrote.
func (p *pod) wantExec(container string, command []string, code int, words ...string) {
	p.n.t.Helper()
	out, errOut, got, err := p.ExecSync(p.n.ctx, container, command...)
	if err != nil || got != code {
		p.n.t.Errorf("exec %q in %q: got code %d, %v, want %d: %s%s", command, container, got, err, code, out, errOut)
		return
	}
	for _, w := range words {
		if !strings.Contains(out+errOut, w) {
			p.n.t.Errorf("exec %q in %q: got %q, want it to have %q", command, container, out+errOut, w)
		}
	}
}

// wantRefusedExec checks that a command not listed is refused in one line that a user can read.
func (p *pod) wantRefusedExec(container string, command ...string) {
	p.n.t.Helper()
	_, _, _, err := p.ExecSync(p.n.ctx, container, command...)
	wantRefusal(p.n.t, err, "exec_in_container")
}

// wantRefusal checks the sentence that reaches `kubectl describe pod`: the decision point, no encoded decision, one line.
func wantRefusal(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("got no error, want a refusal by the policy")
		return
	}
	text := err.Error()
	if strings.Contains(text, "policyDecision<") || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line without an encoded decision", text)
	}
	for _, w := range append([]string{"blocked by policy"}, words...) {
		if !strings.Contains(text, w) {
			t.Errorf("got %q, want it to have %q", text, w)
		}
	}
}

func (p *pod) wantStats(containers ...string) {
	p.n.t.Helper()
	for _, name := range containers {
		stats, err := p.n.Runtime.ContainerStats(p.n.ctx, p.Created[name])
		if err != nil {
			p.n.t.Errorf("stats of %q: %v", name, err)
			continue
		}
		if stats.GetMemory().GetWorkingSetBytes().GetValue() == 0 || stats.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
			p.n.t.Errorf("stats of %q: got memory %v, CPU %v, want both above 0", name, stats.GetMemory(), stats.GetCpu())
		}
	}
}

// wantForwarded fetches nginx's page through a forwarded port.
func (p *pod) wantForwarded() {
	p.n.t.Helper()
	ctx, cancel := context.WithCancel(p.n.ctx)
	defer cancel()
	addr, err := p.Forward(ctx, 8080)
	if err != nil {
		p.n.t.Error(err)
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		p.n.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.n.t.Errorf("through the forwarded port: %v", err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(body), pageText) {
		p.n.t.Errorf("through the forwarded port: got %q, %v", body, err)
	}
}

func (p *pod) wantStatus() {
	p.n.t.Helper()
	for name, id := range p.Created {
		status, err := p.n.Runtime.ContainerStatus(p.n.ctx, id, false)
		if err != nil || status.GetStatus().GetState() != cri.ContainerState_CONTAINER_RUNNING {
			p.n.t.Errorf("status of %q: got %v, %v, want running", name, status.GetStatus().GetState(), err)
		}
	}
	status, err := p.n.Runtime.PodSandboxStatus(p.n.ctx, p.ID, false)
	if err != nil || status.GetStatus().GetState() != cri.PodSandboxState_SANDBOX_READY {
		p.n.t.Errorf("status of the sandbox: got %v, %v, want ready", status.GetStatus().GetState(), err)
	}
}

// stopOne stops nginx by its stop signal: it ends by itself and with 0.
func (p *pod) stopOne() {
	p.n.t.Helper()
	id := p.Created["nginx"]
	if err := p.n.Runtime.StopContainer(p.n.ctx, id, 30); err != nil {
		p.n.t.Errorf("stop nginx: %v", err)
		return
	}
	p.wantExit("nginx", 0, "Completed")
}

// wantExit waits until a container has ended and checks how.
func (p *pod) wantExit(name string, code int32, reason string) {
	p.n.t.Helper()
	var got *cri.ContainerStatus
	err := await(p.n.ctx, "the end of "+name, func() (bool, error) {
		status, err := p.n.Runtime.ContainerStatus(p.n.ctx, p.Created[name], false)
		got = status.GetStatus()
		return got.GetState() == cri.ContainerState_CONTAINER_EXITED, err
	})
	if err != nil {
		p.n.t.Error(err)
		return
	}
	if got.ExitCode != code || got.Reason != reason {
		p.n.t.Errorf("end of %q: got code %d, reason %q, want %d, %q: %s", name, got.ExitCode, got.Reason, code, reason, got.Message)
	}
}
