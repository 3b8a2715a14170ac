package kube

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloister-cc/cloister/shim/pod"
)

// A kind starts pods of one template.
type kind struct {
	apiVersion, name string
	path             []string    // from the object to the template
	fields           []pod.Field // of the object, without the template's
	read             func(raw []byte, k *kind) (*object, error)
}

// object is one object that starts pods.
type object struct {
	meta      metav1.ObjectMeta
	template  corev1.PodTemplateSpec
	podName   pod.Text
	hostname  pod.Text // of a pod whose controller sets it; else the template's or the pod's name counts
	numbered  bool     // an indexed Job
	forceHost bool
}

// metadataFields are of every object, of which a template's own are read by shim/pod.
var metadataFields = []pod.Field{
	{Path: "kind"},
	{Path: "apiVersion"},
	{Path: "metadata.name", Meaning: "what pods are called"},
	{Path: "metadata.namespace", Meaning: "env from `metadata.namespace`; which ConfigMaps and Secrets are meant"},
	{Path: "metadata.labels"},
	{Path: "metadata.annotations"},
	{Path: "metadata.creationTimestamp"},
	{Path: "metadata.finalizers"},
	{Path: "metadata.generation"},
	{Path: "metadata.managedFields"},
	{Path: "metadata.ownerReferences"},
	{Path: "metadata.resourceVersion"},
	{Path: "metadata.selfLink"},
	{Path: "metadata.uid"},
	{Path: "status"},
}

const theTemplate = "the pod, by the fields below"

var kinds = []*kind{
	{apiVersion: "v1", name: "Pod", read: readPod},
	{
		apiVersion: "apps/v1", name: "Deployment", path: []string{"spec", "template"}, read: readDeployment,
		fields: []pod.Field{
			{Path: "spec.template", Meaning: theTemplate},
			{Path: "spec.replicas"},
			{Path: "spec.selector"},
			{Path: "spec.strategy"},
			{Path: "spec.minReadySeconds"},
			{Path: "spec.revisionHistoryLimit"},
			{Path: "spec.paused"},
			{Path: "spec.progressDeadlineSeconds"},
		},
	},
	{
		apiVersion: "apps/v1", name: "StatefulSet", path: []string{"spec", "template"}, read: readStatefulSet,
		fields: []pod.Field{
			{Path: "spec.template", Meaning: theTemplate},
			{Path: "spec.replicas"},
			{Path: "spec.selector"},
			{Path: "spec.serviceName"},
			{Path: "spec.podManagementPolicy"},
			{Path: "spec.updateStrategy"},
			{Path: "spec.revisionHistoryLimit"},
			{Path: "spec.minReadySeconds"},
			{Path: "spec.persistentVolumeClaimRetentionPolicy"},
			{Path: "spec.ordinals"},
			{Path: "spec.volumeClaimTemplates", Meaning: "the bytes are the host's, and nothing checks or encrypts them", Use: pod.Refused},
		},
	},
	{
		apiVersion: "apps/v1", name: "DaemonSet", path: []string{"spec", "template"}, read: readDaemonSet,
		fields: []pod.Field{
			{Path: "spec.template", Meaning: theTemplate},
			{Path: "spec.selector"},
			{Path: "spec.updateStrategy"},
			{Path: "spec.minReadySeconds"},
			{Path: "spec.revisionHistoryLimit"},
		},
	},
	{
		apiVersion: "apps/v1", name: "ReplicaSet", path: []string{"spec", "template"}, read: readReplicaSet,
		fields: []pod.Field{
			{Path: "spec.template", Meaning: theTemplate},
			{Path: "spec.replicas"},
			{Path: "spec.selector"},
			{Path: "spec.minReadySeconds"},
		},
	},
	{
		apiVersion: "v1", name: "ReplicationController", path: []string{"spec", "template"}, read: readReplicationController,
		fields: []pod.Field{
			{Path: "spec.template", Meaning: theTemplate},
			{Path: "spec.replicas"},
			{Path: "spec.selector"},
			{Path: "spec.minReadySeconds"},
		},
	},
	{apiVersion: "batch/v1", name: "Job", path: []string{"spec", "template"}, read: readJob, fields: append(jobFields("spec."),
		pod.Field{Path: "metadata.generateName", Meaning: "a pattern for what pods are called"})},
	{
		apiVersion: "batch/v1", name: "CronJob", path: []string{"spec", "jobTemplate", "spec", "template"}, read: readCronJob,
		fields: append(jobFields("spec.jobTemplate.spec."), []pod.Field{
			{Path: "spec.jobTemplate.metadata"},
			{Path: "spec.schedule"},
			{Path: "spec.timeZone"},
			{Path: "spec.startingDeadlineSeconds"},
			{Path: "spec.concurrencyPolicy"},
			{Path: "spec.suspend"},
			{Path: "spec.successfulJobsHistoryLimit"},
			{Path: "spec.failedJobsHistoryLimit"},
		}...),
	},
}

func jobFields(at string) []pod.Field {
	return []pod.Field{
		{Path: at + "template", Meaning: theTemplate},
		{Path: at + "completionMode", Meaning: "Indexed: the variable `JOB_COMPLETION_INDEX`, and an index in the pods' names"},
		{Path: at + "parallelism"},
		{Path: at + "completions"},
		{Path: at + "activeDeadlineSeconds"},
		{Path: at + "podFailurePolicy"},
		{Path: at + "successPolicy"},
		{Path: at + "backoffLimit"},
		{Path: at + "backoffLimitPerIndex"},
		{Path: at + "maxFailedIndexes"},
		{Path: at + "selector"},
		{Path: at + "manualSelector"},
		{Path: at + "ttlSecondsAfterFinished"},
		{Path: at + "suspend"},
		{Path: at + "podReplacementPolicy"},
		{Path: at + "managedBy"},
	}
}

// load decodes an object and holds it against its table.
func load[T any](raw []byte, k *kind) (*T, error) {
	out, err := decode[T](raw)
	if err != nil {
		return nil, err
	}
	return out, pod.Check(out, "", append(append([]pod.Field{}, metadataFields...), k.fields...), true)
}

func readPod(raw []byte, _ *kind) (*object, error) {
	p, err := decode[corev1.Pod](raw)
	if err != nil {
		return nil, err
	}
	// The rest of the fields is the template's table.
	o := &object{meta: p.ObjectMeta, template: corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}}
	switch {
	case p.Name != "":
		o.podName, o.hostname = pod.Literal(p.Name), pod.Literal(pod.HostnameOf(p.Name))
	case p.GenerateName != "":
		o.podName = pod.GeneratedName(pod.Literal(p.GenerateName))
	}
	return o, nil
}

func readDeployment(raw []byte, k *kind) (*object, error) {
	d, err := load[appsv1.Deployment](raw, k)
	if err != nil {
		return nil, err
	}
	return &object{meta: d.ObjectMeta, template: d.Spec.Template, podName: pod.DeploymentPodName(d.Name)}, nil
}

func readStatefulSet(raw []byte, k *kind) (*object, error) {
	s, err := load[appsv1.StatefulSet](raw, k)
	if err != nil {
		return nil, err
	}
	name := pod.OrdinalName(pod.Literal(s.Name))
	return &object{meta: s.ObjectMeta, template: s.Spec.Template, podName: name, hostname: name, forceHost: true}, nil
}

func readDaemonSet(raw []byte, k *kind) (*object, error) {
	d, err := load[appsv1.DaemonSet](raw, k)
	if err != nil {
		return nil, err
	}
	return &object{meta: d.ObjectMeta, template: d.Spec.Template, podName: pod.GeneratedName(pod.Literal(d.Name + "-"))}, nil
}

func readReplicaSet(raw []byte, k *kind) (*object, error) {
	r, err := load[appsv1.ReplicaSet](raw, k)
	if err != nil {
		return nil, err
	}
	return &object{meta: r.ObjectMeta, template: r.Spec.Template, podName: pod.GeneratedName(pod.Literal(r.Name + "-"))}, nil
}

func readReplicationController(raw []byte, k *kind) (*object, error) {
	r, err := load[corev1.ReplicationController](raw, k)
	if err != nil {
		return nil, err
	}
	if r.Spec.Template == nil {
		return nil, errors.New("spec.template: is empty")
	}
	return &object{meta: r.ObjectMeta, template: *r.Spec.Template, podName: pod.GeneratedName(pod.Literal(r.Name + "-"))}, nil
}

func readJob(raw []byte, k *kind) (*object, error) {
	j, err := load[batchv1.Job](raw, k)
	if err != nil {
		return nil, err
	}
	name, length := pod.Literal(j.Name), len(j.Name)
	if j.Name == "" && j.GenerateName != "" {
		name, length = pod.GeneratedName(pod.Literal(j.GenerateName)), min(len(j.GenerateName), maxPrefix)+len("xxxxx")
	}
	return jobObject(j.ObjectMeta, &j.Spec, name, length)
}

// cronSuffix is how much longer the name of a CronJob's Job is.
const cronSuffix = len("-29000000")

func readCronJob(raw []byte, k *kind) (*object, error) {
	c, err := load[batchv1.CronJob](raw, k)
	if err != nil {
		return nil, err
	}
	return jobObject(c.ObjectMeta, &c.Spec.JobTemplate.Spec, pod.CronJobJobName(c.Name), len(c.Name)+cronSuffix)
}

// maxPrefix is what the API server keeps of the prefix of a generated name.
const maxPrefix = 58

func jobObject(meta metav1.ObjectMeta, spec *batchv1.JobSpec, job pod.Text, length int) (*object, error) {
	o := &object{meta: meta, template: spec.Template}
	o.numbered = spec.CompletionMode != nil && *spec.CompletionMode == batchv1.IndexedCompletion
	most := maxPrefix - len("-")
	if o.numbered {
		o.hostname, o.forceHost = pod.OrdinalName(job), true
		most -= len("-0123456789")
	}
	if length > most && (o.numbered || job.Pattern != "") {
		return nil, fmt.Errorf("metadata.name: is so long that the names of pods are cut, want a Job of at most %d bytes", most)
	}
	o.podName = pod.JobPodName(job, o.numbered)
	return o, nil
}

// passed are kinds that start no pods and change nothing that a policy judges: those of these groups, by name.
var passed = map[string][]string{
	"": {
		"Namespace", "Service", "Endpoints", "PersistentVolume", "PersistentVolumeClaim", "LimitRange", "ResourceQuota", "Event", "Node",
	},
	"apps":                         {"ControllerRevision"},
	"autoscaling":                  {"HorizontalPodAutoscaler"},
	"policy":                       {"PodDisruptionBudget"},
	"networking.k8s.io":            {"Ingress", "IngressClass", "NetworkPolicy"},
	"discovery.k8s.io":             {"EndpointSlice"},
	"rbac.authorization.k8s.io":    {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"},
	"scheduling.k8s.io":            {"PriorityClass"},
	"storage.k8s.io":               {"StorageClass", "CSIDriver", "VolumeAttributesClass"},
	"node.k8s.io":                  {"RuntimeClass"},
	"coordination.k8s.io":          {"Lease"},
	"apiextensions.k8s.io":         {"CustomResourceDefinition"},
	"admissionregistration.k8s.io": {"ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
}
