package pod

// Field is one field of a Pod document, or of the pod template of a workload, that this package understands. It covers
// everything below it; [] stands for each element.
type Field struct {
	Path    string
	Meaning string // what becomes of it; "" is no effect on the containers
	Use     Use
}

// Use says who understands a field.
type Use int

// Who understands a field.
const (
	Everywhere  Use = iota // by `cloister run` and by the policy generator
	ClusterOnly            // by the policy generator, for a pod that a cluster starts
	Refused                // by nobody; Meaning says why
)

// Fields lists the fields, in the order of the tables below: these tables are what reading follows.
func Fields() []Field {
	var out []Field
	for _, table := range [][]Field{podFields, containerFields, volumeFields, irrelevantFields} {
		out = append(out, table...)
	}
	return append(out, initContainerFields()...)
}

var podFields = []Field{
	{"kind", "", Everywhere},
	{"apiVersion", "", Everywhere},
	{"metadata.name", "the variable `HOSTNAME`, where `spec.hostname` is not set", Everywhere},
	{"metadata.namespace", "env from `metadata.namespace`; which ConfigMaps and Secrets are meant", Everywhere},
	{"metadata.labels", "env from `metadata.labels['KEY']`", Everywhere},
	{"metadata.annotations", "env from `metadata.annotations['KEY']`; `io.cloister.exec/`, `io.cloister.env/`, `io.cloister.grants/`", Everywhere},
	{"metadata.generateName", "a pattern for the pod's name", ClusterOnly},
	{"spec.hostname", "the variable `HOSTNAME`", Everywhere},
	{"spec.hostAliases", "lines of /etc/hosts", Everywhere},
	{"spec.securityContext.runAsUser", "user of every container that names none", Everywhere},
	{"spec.securityContext.runAsGroup", "group of every container that names none", Everywhere},
	{"spec.securityContext.runAsNonRoot", "a container that would run as root is an error", Everywhere},
	{"spec.securityContext.supplementalGroups", "groups of every container", Everywhere},
	{"spec.securityContext.supplementalGroupsPolicy", "Strict: the image's groups are left out", ClusterOnly},
	{"spec.securityContext.fsGroup", "a group of every container", ClusterOnly},
	{"spec.securityContext.fsGroupChangePolicy", "", ClusterOnly},
	{"spec.securityContext.sysctls", "net.ipv4.ip_unprivileged_port_start and net.ipv4.ping_group_range; others are refused", Everywhere},
	{"spec.securityContext.seccompProfile.type", "Unconfined; others only with a profile that the generator is given", Everywhere},
	{"spec.securityContext.seccompProfile.localhostProfile", "the name of the profile that the generator is given", ClusterOnly},
	{"spec.securityContext.appArmorProfile.type", "Unconfined and RuntimeDefault, without effect: the guest kernel has no AppArmor", ClusterOnly},
	{"spec.securityContext.seLinuxOptions", "the guest kernel has no SELinux", Refused},
	{"spec.automountServiceAccountToken", "whether the token is mounted at /var/run/secrets/kubernetes.io/serviceaccount", Everywhere},
	{"spec.enableServiceLinks", "true: variables of every service are allowed; false: those of the service `kubernetes` only", Everywhere},
	{"spec.serviceAccountName", "env from `spec.serviceAccountName`; whether the token is mounted", Everywhere},
	{"spec.serviceAccount", "as `spec.serviceAccountName`", ClusterOnly},
	{"spec.nodeName", "env from `spec.nodeName`", Everywhere},
	{"spec.shareProcessNamespace", "true is refused: the guest gives each container its own", Everywhere},
	{"spec.hostUsers", "false is refused: the guest maps no ids", ClusterOnly},
	{"spec.os.name", "only linux", ClusterOnly},
}

// containerFields are those of spec.containers[]; init containers have the same, for a cluster only.
var containerFields = []Field{
	{"spec.containers[].name", "", Everywhere},
	{"spec.containers[].image", "layers, and whatever the document leaves to the image", Everywhere},
	{"spec.containers[].imagePullPolicy", "", Everywhere},
	{"spec.containers[].command", "the command, $(NAME) expanded", Everywhere},
	{"spec.containers[].args", "the command, $(NAME) expanded", Everywhere},
	{"spec.containers[].workingDir", "the working directory", Everywhere},
	{"spec.containers[].stdin", "", Everywhere},
	{"spec.containers[].stdinOnce", "", Everywhere},
	{"spec.containers[].tty", "the variable `TERM`", Everywhere},
	{"spec.containers[].ports", "", Everywhere},
	{"spec.containers[].env[].name", "a variable", Everywhere},
	{"spec.containers[].env[].value", "its value, $(NAME) expanded", Everywhere},
	{"spec.containers[].env[].valueFrom.fieldRef", "its value or a pattern, see below", ClusterOnly},
	{"spec.containers[].env[].valueFrom.resourceFieldRef", "its value or a pattern, see below", ClusterOnly},
	{"spec.containers[].env[].valueFrom.configMapKeyRef", "its value, from a ConfigMap that is given", ClusterOnly},
	{"spec.containers[].env[].valueFrom.secretKeyRef", "its value, from a Secret that is given", ClusterOnly},
	{"spec.containers[].envFrom[].prefix", "before each name", ClusterOnly},
	{"spec.containers[].envFrom[].configMapRef", "variables, from a ConfigMap that is given", ClusterOnly},
	{"spec.containers[].envFrom[].secretRef", "variables, from a Secret that is given", ClusterOnly},
	{"spec.containers[].resources.limits", "cpu and memory: the container's cgroup, env from resourceFieldRef", Everywhere},
	{"spec.containers[].resources.requests", "cpu and memory: the container's cgroup, env from resourceFieldRef", Everywhere},
	{"spec.containers[].resizePolicy", "", ClusterOnly},
	{"spec.containers[].restartPolicy", "", ClusterOnly},
	{"spec.containers[].restartPolicyRules", "", ClusterOnly},
	{"spec.containers[].volumeMounts[].name", "a mount", Everywhere},
	{"spec.containers[].volumeMounts[].mountPath", "its destination", Everywhere},
	{"spec.containers[].volumeMounts[].readOnly", "the option ro", Everywhere},
	{"spec.containers[].volumeMounts[].recursiveReadOnly", "only Disabled and IfPossible, without effect", ClusterOnly},
	{"spec.containers[].volumeMounts[].mountPropagation", "only None", ClusterOnly},
	{"spec.containers[].volumeMounts[].subPath", "one entry of a configMap, secret, downwardAPI or projected volume", ClusterOnly},
	{"spec.containers[].volumeMounts[].subPathExpr", "which directory would be mounted is known at run time only", Refused},
	{"spec.containers[].volumeDevices", "the guest takes no devices from the host", Refused},
	{"spec.containers[].livenessProbe", "exec: a command that may be executed", Everywhere},
	{"spec.containers[].readinessProbe", "exec: a command that may be executed", Everywhere},
	{"spec.containers[].startupProbe", "exec: a command that may be executed", Everywhere},
	{"spec.containers[].lifecycle.postStart", "exec: a command that may be executed", Everywhere},
	{"spec.containers[].lifecycle.preStop", "exec: a command that may be executed", Everywhere},
	{"spec.containers[].lifecycle.stopSignal", "a signal the container may get", ClusterOnly},
	{"spec.containers[].terminationMessagePath", "a mount of that file", ClusterOnly},
	{"spec.containers[].terminationMessagePolicy", "", ClusterOnly},
	{"spec.containers[].securityContext.capabilities", "the capability sets", Everywhere},
	{"spec.containers[].securityContext.privileged", "all capabilities, writable /sys, in the VM", Everywhere},
	{"spec.containers[].securityContext.runAsUser", "the user", Everywhere},
	{"spec.containers[].securityContext.runAsGroup", "the group", Everywhere},
	{"spec.containers[].securityContext.runAsNonRoot", "root is an error", Everywhere},
	{"spec.containers[].securityContext.readOnlyRootFilesystem", "the root file system, which the policy does not judge", Everywhere},
	{"spec.containers[].securityContext.allowPrivilegeEscalation", "false: no_new_privileges", Everywhere},
	{"spec.containers[].securityContext.procMount", "only Default", ClusterOnly},
	{"spec.containers[].securityContext.seccompProfile.type", "as the pod's", Everywhere},
	{"spec.containers[].securityContext.seccompProfile.localhostProfile", "as the pod's", ClusterOnly},
	{"spec.containers[].securityContext.appArmorProfile.type", "as the pod's", ClusterOnly},
	{"spec.containers[].securityContext.seLinuxOptions", "the guest kernel has no SELinux", Refused},
}

const (
	hostStorage = "the bytes are the host's, and nothing checks or encrypts them"
	staged      = "a directory whose content the host copies into the guest: the policy fixes where it appears, not what it holds"
)

var volumeFields = []Field{
	{"spec.volumes[].name", "", Everywhere},
	{"spec.volumes[].emptyDir.medium", "a directory in the VM's own memory", Everywhere},
	{"spec.volumes[].emptyDir.sizeLimit", "", ClusterOnly},
	{"spec.volumes[].configMap", staged, ClusterOnly},
	{"spec.volumes[].secret", staged, ClusterOnly},
	{"spec.volumes[].downwardAPI", staged, ClusterOnly},
	{"spec.volumes[].projected", staged, ClusterOnly},
	{"spec.volumes[].hostPath", "a directory of the node: " + hostStorage, Refused},
	{"spec.volumes[].persistentVolumeClaim", hostStorage, Refused},
	{"spec.volumes[].ephemeral", hostStorage, Refused},
	{"spec.volumes[].csi", hostStorage, Refused},
	{"spec.volumes[].nfs", hostStorage, Refused},
	{"spec.volumes[].azureFile", hostStorage, Refused},
	{"spec.volumes[].image", "its layers are not in the policy", Refused},
}

// irrelevantFields tell a cluster where and when to run the pod, and change nothing inside the VM.
var irrelevantFields = []Field{
	{"spec.restartPolicy", "", Everywhere},
	{"spec.terminationGracePeriodSeconds", "", Everywhere},
	{"spec.affinity", "", Everywhere},
	{"spec.dnsPolicy", "", Everywhere},
	{"spec.imagePullSecrets", "", Everywhere},
	{"spec.nodeSelector", "", Everywhere},
	{"spec.preemptionPolicy", "", Everywhere},
	{"spec.priority", "", Everywhere},
	{"spec.priorityClassName", "", Everywhere},
	{"spec.runtimeClassName", "", Everywhere},
	{"spec.schedulerName", "", Everywhere},
	{"spec.tolerations", "", Everywhere},
	{"spec.topologySpreadConstraints", "", Everywhere},
	{"spec.activeDeadlineSeconds", "", ClusterOnly},
	{"spec.dnsConfig", "", ClusterOnly},
	{"spec.overhead", "", ClusterOnly},
	{"spec.readinessGates", "", ClusterOnly},
	{"spec.resources.limits", "", ClusterOnly},
	{"spec.resources.requests", "", ClusterOnly},
	{"spec.schedulingGates", "", ClusterOnly},
	{"spec.subdomain", "", ClusterOnly},
	{"metadata.creationTimestamp", "", ClusterOnly},
	{"metadata.finalizers", "", ClusterOnly},
	{"metadata.generation", "", ClusterOnly},
	{"metadata.managedFields", "", ClusterOnly},
	{"metadata.ownerReferences", "", ClusterOnly},
	{"metadata.resourceVersion", "", ClusterOnly},
	{"metadata.selfLink", "", ClusterOnly},
	{"metadata.uid", "", ClusterOnly},
}
