package pod

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// supportedFields are the fields that mean something here, and those that only tell a cluster where and when to run the
// pod. A path covers everything below it; [] stands for each element.
var supportedFields = []string{
	"kind", "apiVersion",
	"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations",

	"spec.hostname", "spec.hostAliases",
	"spec.containers[].name", "spec.containers[].image", "spec.containers[].imagePullPolicy",
	"spec.containers[].command", "spec.containers[].args", "spec.containers[].workingDir",
	"spec.containers[].stdin", "spec.containers[].stdinOnce", "spec.containers[].tty",
	"spec.containers[].ports",
	"spec.containers[].env[].name", "spec.containers[].env[].value",
	"spec.containers[].resources.limits", "spec.containers[].resources.requests",
	"spec.containers[].volumeMounts[].name", "spec.containers[].volumeMounts[].mountPath",
	"spec.containers[].volumeMounts[].readOnly",
	"spec.containers[].livenessProbe", "spec.containers[].readinessProbe", "spec.containers[].startupProbe",
	"spec.containers[].lifecycle.postStart", "spec.containers[].lifecycle.preStop",
	"spec.containers[].securityContext.capabilities", "spec.containers[].securityContext.privileged",
	"spec.containers[].securityContext.runAsUser", "spec.containers[].securityContext.runAsGroup",
	"spec.containers[].securityContext.runAsNonRoot", "spec.containers[].securityContext.readOnlyRootFilesystem",
	"spec.containers[].securityContext.allowPrivilegeEscalation",
	"spec.containers[].securityContext.seccompProfile.type",
	"spec.volumes[].name", "spec.volumes[].emptyDir.medium",
	"spec.securityContext.runAsUser", "spec.securityContext.runAsGroup", "spec.securityContext.runAsNonRoot",
	"spec.securityContext.supplementalGroups", "spec.securityContext.sysctls",
	"spec.securityContext.seccompProfile.type",
	"spec.restartPolicy", "spec.terminationGracePeriodSeconds", "spec.shareProcessNamespace",

	// Without effect inside the VM.
	"spec.affinity", "spec.automountServiceAccountToken", "spec.dnsPolicy", "spec.enableServiceLinks",
	"spec.imagePullSecrets", "spec.nodeName", "spec.nodeSelector", "spec.preemptionPolicy", "spec.priority",
	"spec.priorityClassName", "spec.runtimeClassName", "spec.schedulerName", "spec.serviceAccountName",
	"spec.tolerations", "spec.topologySpreadConstraints",
}

// checkSupported refuses a document that sets any field not on the list. Every such field is named, because a user who
// meets them one at a time gives up.
func checkSupported(doc *corev1.Pod) error {
	w := fieldWalk{whole: map[string]bool{}, inside: map[string]bool{}}
	for _, path := range supportedFields {
		w.whole[path] = true
		for i, r := range path {
			if r == '.' || r == '[' {
				w.inside[path[:i]] = true
			}
		}
	}
	w.object(reflect.ValueOf(doc).Elem(), "", "")
	if len(w.refused) > 0 {
		return fmt.Errorf("not supported: %s", strings.Join(w.refused, ", "))
	}
	return nil
}

type fieldWalk struct {
	whole   map[string]bool // supported with everything below
	inside  map[string]bool // something below is supported
	refused []string        // paths as a user would write them
}

// value looks at one field: pattern is its path with [] for indices, shown its path with the indices.
func (w *fieldWalk) value(v reflect.Value, pattern, shown string) {
	if v.IsZero() || w.whole[pattern] {
		return
	}
	if !w.inside[pattern] {
		w.refused = append(w.refused, shown)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		w.value(v.Elem(), pattern, shown)
	case reflect.Struct:
		w.object(v, pattern+".", shown+".")
	case reflect.Slice:
		for i := range v.Len() {
			elem := v.Index(i)
			w.object(elem, pattern+"[].", fmt.Sprintf("%s[%d].", shown, i))
		}
	default:
		w.refused = append(w.refused, shown)
	}
}

func (w *fieldWalk) object(v reflect.Value, pattern, shown string) {
	t := v.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if t.Field(i).Anonymous && name == "" {
			w.object(v.Field(i), pattern, shown)
			continue
		}
		w.value(v.Field(i), pattern+name, shown+name)
	}
}
