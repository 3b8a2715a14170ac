package containerd_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// Commands of the volume cases.
var (
	readConfig  = shell("cat /config/greeting")
	readSecret  = shell("cat /secret/key")
	writeShared = shell("echo shared >/cache/file")
	readShared  = shell("cat /cache/file")
)

// volumePod has a ConfigMap, a Secret and an emptyDir, the last one in both of its containers.
func volumePod(t *testing.T) *corev1.Pod {
	t.Helper()
	spec := newPod("volumes", container("main", "work", "/usr/bin/sleep", "100000"), container("other", "work", "/usr/bin/sleep", "100000"))
	spec.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "greeting"}}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key"}}},
		{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	spec.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "config", MountPath: "/config", ReadOnly: true}, {Name: "secret", MountPath: "/secret", ReadOnly: true}, {Name: "cache", MountPath: "/cache"},
	}
	spec.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "cache", MountPath: "/cache"}}
	allow(t, spec, "main", readConfig, readSecret, writeShared)
	return allow(t, spec, "other", readShared)
}

// TestVolumes: small files of the host are there and follow the host's changes; an emptyDir is one directory for two containers, and none of the host's.
func TestVolumes(t *testing.T) {
	n := shared(t)
	p := n.sandbox(n.policed(volumePod(t)), bed.HandlerCloister)
	for volume, files := range map[string]map[string]string{"config": {"greeting": "hello\n"}, "secret": {"key": "first\n"}} {
		if err := p.Update(volume, files); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"main", "other"} {
		if err := p.Start(n.ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	p.wantExec("main", readConfig, 0, "hello")
	p.wantExec("main", readSecret, 0, "first")
	p.wantExec("main", writeShared, 0)
	p.wantExec("other", readShared, 0, "shared")

	if err := p.Update("config", map[string]string{"greeting": "changed\n"}); err != nil {
		t.Fatal(err)
	}
	err := await(n.ctx, "the change in the guest", func() (bool, error) {
		out, _, _, err := p.ExecSync(n.ctx, "main", readConfig...)
		return strings.Contains(out, "changed"), err
	})
	if err != nil {
		t.Error(err)
	}
	p.wantExec("main", readSecret, 0, "first")
}

// TestHostPathRefused: a directory of the host is not given to the guest, and the reason says so.
func TestHostPathRefused(t *testing.T) {
	n := shared(t)
	spec := n.policed(simplePod(t, "hostpath"))
	spec.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}}}
	spec.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "host", MountPath: "/host"}}
	p := n.sandbox(spec, bed.HandlerCloister)
	if err := p.Start(n.ctx, "main"); err == nil || !strings.Contains(err.Error(), "hostPath") || !strings.Contains(err.Error(), "/host") {
		t.Errorf("got %v, want a reason that names hostPath and /host", err)
	}
}

// TestNoPolicy: a pod without a policy is refused, with what to do about it.
func TestNoPolicy(t *testing.T) {
	n := shared(t)
	p, err := n.Run(n.ctx, simplePod(t, "nopolicy"), bed.HandlerCloister)
	if err == nil {
		t.Fatalf("the pod started; remove: %v", p.Remove(n.ctx))
	}
	if !strings.Contains(err.Error(), "policy generate -f POD --annotate policy") {
		t.Errorf("got %v, want it to say how a policy gets into the pod", err)
	}
	// containerd keeps a sandbox whose start failed until kubelet removes it.
	if err := n.RemoveAll(n.ctx); err != nil {
		t.Error(err)
	}
}
