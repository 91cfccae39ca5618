{{/* What every pod takes from the values of its workload (deploy/generate/chart_pods.py, class Pod). */}}

{{/* Of (dict "root" $ "image" IMAGE). */}}
{{- define "couplet.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "couplet.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run, and what it may claim there. Of a mapping with the fields of Pod. */}}
{{- define "couplet.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .resourceClaims }}
resourceClaims: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- if .hostIPC }}
hostIPC: true
{{- end }}
{{- end -}}

{{/* Security context of a pod. Of (dict "root" $ "ids" IDS "pod" POD), where IDS are the user and groups of its image, and
     `security` may hold more of the chart's own. */}}
{{- define "couplet.podSecurity" -}}
{{- $made := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if .root.Values.fixedIds -}}{{- $made = merge $made .ids -}}{{- end -}}
{{- $made = mergeOverwrite $made (default dict .security) (deepCopy (default dict .pod.podSecurityContext)) -}}
{{- toYaml $made -}}
{{- end -}}

{{/* Security context of a container. Of (dict "pod" POD "security" MAPPING), where the mapping has more of the chart's own. */}}
{{- define "couplet.containerSecurity" -}}
{{- $made := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) -}}
{{- toYaml (mergeOverwrite $made (default dict .security) (deepCopy (default dict .pod.securityContext))) -}}
{{- end -}}

{{/* Claims that a container uses: all of its pod's. */}}
{{- define "couplet.claims" -}}
{{- range .resourceClaims }}
- name: {{ .name }}
{{- end }}
{{- end -}}

{{/* Whether lists of a pod and of the chart's have anything: their concatenation as YAML, or nothing. */}}
{{- define "couplet.list" -}}
{{- $all := list -}}
{{- range . -}}{{- $all = concat $all (default list .) -}}{{- end -}}
{{- with $all -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* Bytes of a part of a quantity of memory. Of (list QUANTITY PERCENT). */}}
{{- define "couplet.bytes" -}}
{{- $text := index . 0 | toString -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- if not (hasKey $factors $unit) -}}{{- fail (printf "%s: an amount of memory has one of the units Ki, Mi, Gi, Ti, k, M, G, T" $text) -}}{{- end -}}
{{- divf (mulf (trimSuffix $unit $text | float64) (get $factors $unit) (index . 1)) 100 | floor | int64 -}}
{{- end -}}

{{/* A pod that is left alone by what tidies up nodes. */}}
{{- define "couplet.undisturbed" -}}
karpenter.sh/do-not-disrupt: "true"
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
{{- end -}}

{{/* Of (dict "root" $ "component" NAME): no drain takes such a pod; somebody ends the run first. */}}
{{- define "couplet.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "couplet.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "couplet.labels" . | nindent 4 }}
spec:
  maxUnavailable: 0
  selector:
    matchLabels: {{- include "couplet.selector" . | nindent 6 }}
{{- end -}}

{{/* A pod, unless it takes a name twice: the API's own message would name no value. Of (list WHERE POD). */}}
{{- define "couplet.unique" -}}
{{- $where := index . 0 -}}{{- $spec := (index . 1 | fromYaml).spec -}}
{{- $containers := concat (default list $spec.initContainers) $spec.containers -}}
{{- include "couplet.once" (list $where "two volumes are named %s" "name" $spec.volumes) -}}
{{- include "couplet.once" (list $where "two containers are named %s" "name" $containers) -}}
{{- range $containers -}}
{{- include "couplet.once" (list $where "%s is set twice; the chart may set it itself" "name" .env) -}}
{{- include "couplet.once" (list $where "two volumes are mounted at %s" "mountPath" .volumeMounts) -}}
{{- end -}}
{{- index . 1 -}}
{{- end -}}

{{/* Refuse what a list has twice. Of (list WHERE MESSAGE FIELD LIST). */}}
{{- define "couplet.once" -}}
{{- $seen := dict -}}{{- $field := index . 2 -}}
{{- range default list (index . 3) -}}
{{- $value := get . $field | toString -}}
{{- if hasKey $seen $value -}}{{- fail (printf "%s: %s" (index $ 0) (printf (index $ 1) $value)) -}}{{- end -}}
{{- $_ := set $seen $value true -}}
{{- end -}}
{{- end -}}
