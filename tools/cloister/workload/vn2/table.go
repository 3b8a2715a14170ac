package vn2

import (
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

const cluster = "for the cluster; no effect"

var (
	metadata = shape.Object("metadata", "names and labels", shape.With([]shape.Spec{
		shape.Text("name", "name of the group; what ConfigMaps and Secrets are found by"),
		shape.Text("namespace", "what ConfigMaps and Secrets are found by"),
		shape.Map("labels", "of a pod: the group's labels (workload identity)"),
		shape.Map("annotations", Annotation+" of a pod is its present policy; the others have no effect"),
	}, shape.Ignored(cluster, "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName", "generation", "managedFields",
		"ownerReferences", "resourceVersion", "selfLink", "uid"))...)

	command = []shape.Spec{shape.Object("exec", "a command that may be started inside", shape.Texts("command", "its words"))}

	probe = shape.With(command, shape.Ignored("when and how the kubelet asks; no effect", "failureThreshold", "grpc", "httpGet", "initialDelaySeconds",
		"periodSeconds", "successThreshold", "tcpSocket", "terminationGracePeriodSeconds", "timeoutSeconds"))
	handler = shape.With(command, shape.Ignored("no command; no effect", "httpGet", "sleep", "tcpSocket"))

	seccomp = shape.Object("seccompProfile", "the platform's default or none",
		shape.Text("type", "RuntimeDefault or Unconfined; Localhost is refused"),
		shape.Refused("localhostProfile", "the profile is a file of a node: virtual nodes have none"))

	identity = []shape.Spec{shape.Whole("runAsUser", "user id"), shape.Whole("runAsGroup", "group id"), seccomp}

	podSecurity = shape.Object("securityContext", "for containers that say nothing else", shape.With(identity,
		shape.Ignored("not in a policy; no effect", "appArmorProfile", "fsGroup", "fsGroupChangePolicy", "runAsNonRoot", "seLinuxChangePolicy", "seLinuxOptions",
			"supplementalGroups", "supplementalGroupsPolicy", "sysctls"),
		[]shape.Spec{shape.Refused("windowsOptions", "policies of other systems are not made")})...)

	containerSecurity = shape.Object("securityContext", "what the processes may", shape.With([]shape.Spec{
		shape.Bool("privileged", "allow_elevated and its mounts and capabilities"),
		shape.Bool("allowPrivilegeEscalation", "its negation is no_new_privileges"),
		shape.Object("capabilities", "over the default set", shape.Texts("add", "names to add"), shape.Texts("drop", "names to drop")),
		shape.Text("procMount", "Default; another one is refused"),
	}, identity,
		shape.Ignored("not in a policy; no effect", "appArmorProfile", "readOnlyRootFilesystem", "runAsNonRoot", "seLinuxOptions"),
		[]shape.Spec{shape.Refused("windowsOptions", "policies of other systems are not made")})...)

	reference = []shape.Spec{shape.Text("name", "its name"), shape.Bool("optional", "it may be missing")}
	keyOf     = shape.With(reference, []shape.Spec{shape.Text("key", "the key in it")})

	container = shape.With([]shape.Spec{
		shape.Text("name", "name of the container"),
		shape.Text("image", "image reference"),
		shape.Texts("command", "replaces the image's entry point; references to variables are expanded"),
		shape.Texts("args", "replaces the image's arguments; references to variables are expanded"),
		shape.Text("workingDir", "working directory"),
		shape.List("env", "environment rules; of two with one name the last counts",
			shape.Text("name", "name"),
			shape.Text("value", "value; references to variables are expanded"),
			shape.Object("valueFrom", "value from elsewhere",
				shape.Object("configMapKeyRef", "from a ConfigMap of the file; of another one a wildcard", keyOf...),
				shape.Object("secretKeyRef", "from a Secret of the file; of another one a wildcard", keyOf...),
				shape.Any("fieldRef", "a wildcard"),
				shape.Any("resourceFieldRef", "a wildcard"),
				shape.Refused("fileKeyRef", "the file is known inside the pod only"))),
		shape.List("envFrom", "environment rules, one a key; those of env count more",
			shape.Text("prefix", "put before each key"),
			shape.Object("configMapRef", "a ConfigMap of the file", reference...),
			shape.Object("secretRef", "a Secret of the file", reference...)),
		shape.List("volumeMounts", "mounts", shape.With([]shape.Spec{
			shape.Text("name", "a volume of the pod"),
			shape.Text("mountPath", "destination"),
			shape.Bool("readOnly", "ro instead of rw"),
			shape.Text("mountPropagation", "None or HostToContainer; Bidirectional is refused"),
		}, shape.Ignored("below the source; no effect", "subPath", "subPathExpr", "recursiveReadOnly"))...),
		shape.Object("livenessProbe", "of a probe only its command counts", probe...),
		shape.Object("readinessProbe", "of a probe only its command counts", probe...),
		shape.Object("startupProbe", "of a probe only its command counts", probe...),
		shape.Object("lifecycle", "commands around the container's life", shape.With([]shape.Spec{
			shape.Object("postStart", "after its start", handler...),
			shape.Object("preStop", "before its end", handler...),
		}, shape.Ignored(cluster, "stopSignal"))...),
		containerSecurity,
		shape.Text("terminationMessagePath", "/dev/termination-log; another one is refused"),
		shape.Refused("volumeDevices", "policies have no block devices"),
	}, shape.Ignored(cluster, "imagePullPolicy", "ports", "resizePolicy", "resources", "restartPolicy", "restartPolicyRules", "stdin", "stdinOnce",
		"terminationMessagePolicy", "tty"))

	podVolumes = shape.List("volumes", "what volumeMounts name; the kind decides the source of the mount", shape.With([]shape.Spec{
		shape.Text("name", "name of the volume"),
		shape.Any("emptyDir", "an empty directory"),
		shape.Any("configMap", "as an empty directory"),
		shape.Any("downwardAPI", "as an empty directory"),
		shape.Any("projected", "as an empty directory"),
		shape.Any("secret", "files with secrets"),
		shape.Any("azureFile", "a share of Azure Files"),
		shape.Object("csi", "a share of Azure Files", shape.With([]shape.Spec{shape.Text("driver", "file.csi.azure.com; another one is refused")},
			shape.Ignored("of the share; no effect", "fsType", "nodePublishSecretRef", "readOnly", "volumeAttributes"))...),
		shape.Any("persistentVolumeClaim", "a share of Azure Files: virtual nodes have no other claims"),
		shape.Any("gitRepo", "a repository's files"),
		shape.Refused("hostPath", "a virtual node has no files of its own"),
		shape.Refused("ephemeral", "virtual nodes have no such volumes"),
		shape.Refused("image", "virtual nodes have no such volumes"),
		shape.Refused("nfs", "virtual nodes have no such volumes"),
	})...)

	podSpec = shape.Object("spec", "the pod", shape.With([]shape.Spec{
		shape.List("containers", "the containers", container...),
		shape.List("initContainers", "containers that run before the others, sidecars too; appended", container...),
		podVolumes,
		podSecurity,
		shape.Bool("hostNetwork", "refused where true"),
		shape.Bool("hostPID", "refused where true"),
		shape.Bool("hostIPC", "refused where true"),
		shape.Bool("shareProcessNamespace", "refused where true"),
		shape.Object("os", "the operating system", shape.Text("name", "linux; another one is refused")),
		shape.Refused("ephemeralContainers", "they are added to running pods"),
	}, shape.Ignored(cluster, "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks", "hostAliases",
		"hostUsers", "hostname", "hostnameOverride", "imagePullSecrets", "nodeName", "nodeSelector", "overhead", "preemptionPolicy", "priority",
		"priorityClassName", "readinessGates", "resourceClaims", "resources", "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates",
		"serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "subdomain", "terminationGracePeriodSeconds", "tolerations",
		"topologySpreadConstraints"))...)

	object = shape.With([]shape.Spec{
		shape.Text("apiVersion", "which kinds these are"),
		shape.Text("kind", "Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, ConfigMap, Secret, List; others are passed over"),
		metadata,
	}, shape.Ignored("what the cluster reports; no effect", "status"))

	pod      = shape.Object("", "a pod", shape.With(object, []shape.Spec{podSpec})...)
	template = shape.Object("template", "the pods", metadata, podSpec)

	workloadSpec = shape.With([]shape.Spec{
		template,
		shape.Any("volumeClaimTemplates", "volumes, each a share of Azure Files"),
	}, shape.Ignored(cluster, "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "completionMode", "completions", "managedBy", "manualSelector",
		"maxFailedIndexes", "minReadySeconds", "ordinals", "parallelism", "paused", "persistentVolumeClaimRetentionPolicy", "podFailurePolicy", "podManagementPolicy",
		"podReplacementPolicy", "progressDeadlineSeconds", "replicas", "revisionHistoryLimit", "selector", "serviceName", "strategy", "successPolicy", "suspend",
		"ttlSecondsAfterFinished", "updateStrategy"))

	controller = shape.Object("", "what makes pods", shape.With(object, []shape.Spec{shape.Object("spec", "the pods to make", workloadSpec...)})...)

	cronJob = shape.Object("", "what makes jobs", shape.With(object, []shape.Spec{shape.Object("spec", "the jobs to make", shape.With([]shape.Spec{
		shape.Object("jobTemplate", "the job", metadata, shape.Object("spec", "the pods to make", workloadSpec...)),
	}, shape.Ignored(cluster, "concurrencyPolicy", "failedJobsHistoryLimit", "schedule", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "suspend", "timeZone"))...)})...)

	configMap = shape.Object("", "a ConfigMap", shape.With(object, []shape.Spec{
		shape.Map("data", "values"),
	}, shape.Ignored("no variable can have them; no effect", "binaryData"), shape.Ignored(cluster, "immutable"))...)

	secret = shape.Object("", "a Secret", shape.With(object, []shape.Spec{
		shape.Map("data", "values in base64, never shown"),
		shape.Map("stringData", "values that count more, never shown"),
	}, shape.Ignored(cluster, "immutable", "type"))...)

	list = shape.Object("", "a list", shape.With(object, []shape.Spec{shape.Any("items", "objects; read as if each were a document")})...)
)

// Fields returns what Read understands: a pod, and what stands around one in the other kinds.
func Fields() []workload.Field {
	out := pod.Fields("")
	for _, of := range []struct {
		spec   *shape.Spec
		prefix string
	}{{&controller, "Deployment"}, {&cronJob, "CronJob"}, {&configMap, "ConfigMap"}, {&secret, "Secret"}, {&list, "List"}} {
		for _, f := range of.spec.Fields("") {
			if !inPod(f.Path) && !known(out, f.Path) {
				f.Path = of.prefix + ": " + f.Path
				out = append(out, f)
			}
		}
	}
	return out
}
