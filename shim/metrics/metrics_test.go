package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/shim/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers for a pod until the test ends, and gives its set.
func serve(t *testing.T, dir, pod string) *metrics.Set {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s, done := metrics.New(), make(chan error, 1)
	socket := metrics.Path(dir, pod)
	go func() { done <- s.Serve(ctx, socket) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return s
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("serve ended: %v", err)
		default:
		}
	}
}

func text(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	if err := metrics.Write(&b, families); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("line missing: %q", want)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%s", text)
	}
}

func TestGatherMergesPods(t *testing.T) {
	dir := t.TempDir()
	a, b := serve(t, dir, "aa"), serve(t, dir, "bb")
	a.Boot(1500 * time.Millisecond)
	a.Containers(3)
	a.Request("grpc.AgentService/CreateContainer", codes.PermissionDenied, 20*time.Millisecond)
	a.Refusal("create_container")
	b.Containers(1)
	b.VM(os.Getpid(), 2, 768)
	families, err := metrics.Gather(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, families)
	wantLines(t, got,
		`cloister_shim_boot_seconds{pod="aa"} 1.5`,
		`cloister_shim_containers{pod="aa"} 3`,
		`cloister_shim_containers{pod="bb"} 1`,
		`cloister_shim_vm_vcpus{pod="bb"} 2`,
		`cloister_shim_vm_memory_bytes{pod="bb"} 8.05306368e+08`,
		`cloister_shim_vm_resident_memory_bytes{pod="aa"} 0`,
		`cloister_shim_refusals_total{point="create_container",pod="aa"} 1`,
		`cloister_shim_agent_request_duration_seconds_count{code="PermissionDenied",rpc="CreateContainer",pod="aa"} 1`,
	)
	if n := strings.Count(got, "# TYPE cloister_shim_containers gauge"); n != 1 {
		t.Errorf("the family of two pods is headed %d times, want once", n)
	}
	if strings.Contains(got, `cloister_shim_vm_resident_memory_bytes{pod="bb"} 0`+"\n") {
		t.Error("a running process has no resident memory")
	}
}

// A shim that was killed leaves its socket: the others' numbers still come, and the new shim of that name takes the socket over.
func TestGatherWithoutTheDead(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: metrics.Path(dir, "dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	serve(t, dir, "alive").Containers(2)
	families, err := metrics.Gather(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "dead.sock") || strings.Contains(err.Error(), "alive") {
		t.Errorf("got error %v, want one that names dead.sock alone", err)
	}
	wantLines(t, text(t, families), `cloister_shim_containers{pod="alive"} 2`)
	serve(t, dir, "dead")
	if _, err := metrics.Gather(t.Context(), dir); err != nil {
		t.Errorf("after the socket was taken over: %v", err)
	}
}

// answer serves fixed text in a shim's place.
func answer(t *testing.T, dir, pod string, write func(io.Writer)) {
	t.Helper()
	l, err := net.Listen("unix", metrics.Path(dir, pod))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
}

func TestGatherBoundsAnswers(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"too-long", strings.Repeat("# padding\n", 200_000), "more than"},
		{"no-metrics", "<html>", "gather metrics"},
		{"another-type", "# TYPE cloister_shim_containers counter\ncloister_shim_containers 4\n", "type COUNTER, want GAUGE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, dir, "a-good").Containers(1)
			answer(t, dir, "bad", func(w io.Writer) { _, _ = io.WriteString(w, tc.text) })
			families, err := metrics.Gather(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "bad.sock") {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
			got := text(t, families)
			wantLines(t, got, `cloister_shim_containers{pod="a-good"} 1`)
			if strings.Contains(got, `pod="bad"`) {
				t.Errorf("numbers of the bad socket were taken:\n%s", got)
			}
		})
	}
}

// A shim cannot speak for another pod.
func TestGatherReplacesPodLabel(t *testing.T) {
	dir := t.TempDir()
	answer(t, dir, "me", func(w io.Writer) { _, _ = io.WriteString(w, "m{pod=\"you\"} 1\n") })
	families, err := metrics.Gather(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, text(t, families), `m{pod="me"} 1`)
}

// The node's own daemon is no pod.
func TestGatherSnapshotter(t *testing.T) {
	dir := t.TempDir()
	answer(t, dir, metrics.Snapshotter, func(w io.Writer) { _, _ = io.WriteString(w, "cloister_snapshotter_layers 3\n") })
	serve(t, dir, "aa").Containers(1)
	families, err := metrics.Gather(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, text(t, families), "cloister_snapshotter_layers 3", `cloister_shim_containers{pod="aa"} 1`)
}

func TestGatherHonoursContext(t *testing.T) {
	dir := t.TempDir()
	block := make(chan struct{})
	answer(t, dir, "hung", func(io.Writer) { <-block })
	t.Cleanup(func() { close(block) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := metrics.Gather(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestLabelsComeFromClosedSets(t *testing.T) {
	s := metrics.New()
	for _, p := range []string{"exec_in_container", "point\" x", strings.Repeat("a", 41), ""} {
		s.Refusal(p)
	}
	families, err := s.Families()
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, text(t, families), `cloister_shim_refusals_total{point="exec_in_container"} 1`, `cloister_shim_refusals_total{point="other"} 3`)
}

// TestGuestCannotGrowLabels: what a guest answers with makes no new series.
func TestGuestCannotGrowLabels(t *testing.T) {
	s := metrics.New()
	for i := range 2000 {
		s.Refusal("point_" + string([]byte{'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)}))
		s.Request("CreateContainer", codes.Code(i), time.Millisecond)
	}
	families, err := s.Families()
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, families)
	if len(got) > 32<<10 {
		t.Errorf("got %d bytes of text, want at most 32 KiB", len(got))
	}
	wantLines(t, got,
		`cloister_shim_refusals_total{point="other"} 2000`,
		`cloister_shim_agent_request_duration_seconds_count{code="Unauthenticated",rpc="CreateContainer"} 1`,
		`cloister_shim_agent_request_duration_seconds_count{code="other",rpc="CreateContainer"} 1983`)
}

// TestEveryPointHasItsName: the list of the package is the enforcer's.
func TestEveryPointHasItsName(t *testing.T) {
	s := metrics.New()
	points := enforcer.Points()
	for _, p := range points {
		s.Refusal(string(p.Point))
	}
	families, err := s.Families()
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, families)
	for _, p := range points {
		wantLines(t, got, `cloister_shim_refusals_total{point="`+string(p.Point)+`"} 1`)
	}
}

// agent refuses every create, and answers no wait.
type agent struct{ api.AgentServiceService }

func (agent) CreateContainer(context.Context, *api.CreateContainerRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.PermissionDenied, "no")
}

func (agent) StartContainer(ctx context.Context, _ *api.StartContainerRequest) (*emptypb.Empty, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (agent) WaitProcess(context.Context, *api.WaitProcessRequest) (*api.WaitProcessResponse, error) {
	return &api.WaitProcessResponse{}, nil
}

func TestClientOptionCountsCalls(t *testing.T) {
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	api.RegisterAgentServiceService(srv, agent{})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(context.Background(), l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := metrics.New()
	client := ttrpc.NewClient(conn, s.ClientOption())
	defer client.Close()
	calls := api.NewAgentServiceClient(client)
	if _, err := calls.CreateContainer(t.Context(), &api.CreateContainerRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("got %v, want PermissionDenied", err)
	}
	if _, err := calls.WaitProcess(t.Context(), &api.WaitProcessRequest{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := calls.StartContainer(ctx, &api.StartContainerRequest{}); err == nil {
		t.Fatal("a call that was given up has no error")
	}
	families, err := s.Families()
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, families)
	wantLines(t, got,
		`cloister_shim_agent_request_duration_seconds_count{code="PermissionDenied",rpc="CreateContainer"} 1`,
		`cloister_shim_agent_request_duration_seconds_count{code="DeadlineExceeded",rpc="StartContainer"} 1`)
	if strings.Contains(got, "WaitProcess") {
		t.Errorf("a wait was timed:\n%s", got)
	}
}

func TestServeRefusesTakenSocket(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "aa")
	if err := metrics.New().Serve(t.Context(), metrics.Path(dir, "aa")); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("got %v, want that another process listens", err)
	}
	info, err := os.Stat(filepath.Join(dir, "aa.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: got %v, %v, want mode 0600", info, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("# TYPE a counter\na{b=\"c\"} 1\n")
	f.Add("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n")
	f.Add("a 1\n# TYPE a gauge\n")
	f.Fuzz(func(t *testing.T, in string) {
		families, err := metrics.Parse(in)
		if err != nil {
			return
		}
		for name, m := range families {
			if m.GetName() != name {
				t.Errorf("family %q is filed under %q", m.GetName(), name)
			}
		}
	})
}
