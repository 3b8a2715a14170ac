package containerd_test

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// execAny is the pattern of commands: a policy lists each command, so the cases list theirs.
const execAnnotation = "io.cloister.exec/"

// container of an image of the tests, with a memory limit as the guest's memory is sized by it.
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

// simplePod has one container, "main".
func simplePod(name, image string, command ...string) *corev1.Pod {
	return newPod(name, container("main", image, command...))
}
