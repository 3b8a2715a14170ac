package containerd_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// container of an image of the tests, with a memory limit: the VM is sized by it.
func container(name, image string, command ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: bed.Ref(image), Command: command, ImagePullPolicy: corev1.PullAlways,
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
	}
}

// newPod is a pod that never restarts its containers.
func newPod(name string, containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: containers},
	}
}

// simplePod has one container, "main", that sleeps, and allows these commands in it.
func simplePod(t *testing.T, name string, commands ...[]string) *corev1.Pod {
	t.Helper()
	return allow(t, newPod(name, container("main", "work", "/usr/bin/sleep", "100000")), "main", commands...)
}

// allow lists commands that may be executed in a container.
func allow(t *testing.T, spec *corev1.Pod, name string, commands ...[]string) *corev1.Pod {
	t.Helper()
	if len(commands) == 0 {
		return spec
	}
	text, err := json.Marshal(commands)
	if err != nil {
		t.Fatal(err)
	}
	spec.Annotations["io.cloister.exec/"+name] = string(text)
	return spec
}

// shell is a command line for busybox.
func shell(script string) []string { return []string{"/usr/bin/sh", "-c", script} }

// webPod is nginx and a client that can reach it: the images of the demo.
func webPod(t *testing.T, name string, commands ...[]string) *corev1.Pod {
	t.Helper()
	server := corev1.Container{
		Name: "nginx", Image: bed.Ref("nginx"), ImagePullPolicy: corev1.PullAlways,
		Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
	}
	return allow(t, newPod(name, server, container("client", "client", "/usr/bin/sleep", "100000")), "client", commands...)
}

// bothHandlers are the two ways that containerd has to run a pod with a VM.
var bothHandlers = []string{bed.HandlerCloister, bed.HandlerSandbox}
