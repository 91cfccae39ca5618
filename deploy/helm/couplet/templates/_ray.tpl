{{/* The Ray cluster, the same in a RayJob and a RayCluster. */}}

{{/* Environment of every Ray container. Of (dict "root" $ "component" NAME "pool" POOL). */}}
{{- define "couplet.rayEnv" -}}
{{- $values := .root.Values -}}{{- $head := eq .component "head" -}}
{{ include "couplet.redisEnv" .root }}
- {name: HF_HOME, value: {{ printf "%s/huggingface" $values.storage.mountPath | quote }}}
- {name: PYTHONUNBUFFERED, value: "1"}
{{- with include "couplet.codeEnv" .root }}
{{ . }}
{{- end }}
{{- with $values.secrets.huggingface }}{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}{{- end }}
{{- with $values.secrets.wandb }}{{- if .name }}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}{{- end }}
{{- if $head }}
- {name: RAY_JOB_STOP_WAIT_TIME_S, value: {{ $values.ray.stopSeconds | quote }}}
{{- with $values.monitoring.prometheusUrl }}
- {name: RAY_PROMETHEUS_HOST, value: {{ . | quote }}}
{{- end }}
{{- with $values.monitoring.grafanaUrl }}
- {name: RAY_GRAFANA_HOST, value: {{ . | quote }}}
{{- end }}
{{- with $values.monitoring.grafanaBrowserUrl }}
- {name: RAY_GRAFANA_IFRAME_HOST, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if eq .component "learner" }}
- {name: COUPLET_LEAVING, value: /tmp/couplet-leaving}
{{- end }}
{{- with include "couplet.list" (list $values.ray.env .pool.env) }}
{{ . }}
{{- end }}
{{- end -}}

{{/* Requests and limits of a Ray container. Of (dict "root" $ "pool" POOL). */}}
{{- define "couplet.rayResources" -}}
cpu: {{ .pool.cpu | quote }}
memory: {{ .pool.memory | quote }}
{{- with .pool.gpusPerPod }}
{{ $.root.Values.ray.gpuResource }}: {{ . | quote }}
{{- end }}
{{- with .pool.extraResources }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The hook that a pod runs before Ray is ended. Of (dict "root" $ "script" FILE). */}}
{{- define "couplet.preStop" -}}
preStop:
  exec:
    command:
      - python3
      - -c
      - {{ .root.Files.Get .script | toJson }}
      - {{ .root.Values.ray.stopSeconds | quote }}
{{- end -}}

{{/* Pod template. Of (dict "root" $ "component" NAME "pool" POOL). */}}
{{- define "couplet.rayPod" -}}
{{- $ := .root -}}{{- $ray := .root.Values.ray -}}{{- $pool := .pool -}}
{{- $head := eq .component "head" -}}{{- $kept := has .component (list "head" "learner") -}}
metadata:
  labels:
    {{- include "couplet.podLabels" (dict "root" $ "component" .component) | nindent 4 }}
    {{- with $pool.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or $pool.annotations $kept (not (kindIs "string" $.Values.recipe)) }}
  annotations:
    {{- if $kept }}
    {{- include "couplet.undisturbed" . | nindent 4 }}
    {{- end }}
    {{- if not (kindIs "string" $.Values.recipe) }}
    couplet/recipe: {{ toYaml $.Values.recipe | sha256sum | trunc 16 | quote }}
    {{- end }}
    {{- with $pool.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- with $pool.serviceAccountName | default (ternary (include "couplet.serviceAccountName" $) "" $head) }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: {{ and $head $ray.autoscaling.enabled }}
  # A run that is stopped writes a checkpoint first, for which its head and its learner stay; Ray then ends its processes.
  terminationGracePeriodSeconds: {{ ternary (add $ray.stopSeconds 60) 60 $kept }}
  {{- include "couplet.imagePullSecrets" $ | nindent 2 }}
  {{- with $ray.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- include "couplet.placement" $pool | nindent 2 }}
  securityContext:
    {{- $ids := dict "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" }}
    {{- include "couplet.podSecurity" (dict "root" $ "ids" $ids "pod" $pool) | nindent 4 }}
  {{- $env := include "couplet.list" (list $ray.env $pool.env) }}{{- $envFrom := include "couplet.list" (list $ray.envFrom $pool.envFrom) }}
  {{- $mounts := include "couplet.list" (list $ray.extraVolumeMounts $pool.extraVolumeMounts) }}
  {{- $more := include "couplet.list" (list $ray.initContainers $pool.initContainers) }}
  {{- $security := include "couplet.containerSecurity" (dict "pod" $pool) }}
  {{- with include "couplet.initContainers" (dict "root" $ "image" $ray.image "security" $security "env" $env "envFrom" $envFrom "mounts" $mounts "more" $more) | trim }}
  initContainers: {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ ternary "ray-head" "ray-worker" $head }}
      image: {{ include "couplet.image" (dict "root" $ "image" $ray.image) | quote }}
      imagePullPolicy: {{ $ray.image.pullPolicy }}
      ports:
        - {name: metrics, containerPort: 8080, protocol: TCP}
        {{- if $head }}
        - {name: gcs-server, containerPort: 6379, protocol: TCP}
        - {name: dashboard, containerPort: 8265, protocol: TCP}
        - {name: as-metrics, containerPort: 44217, protocol: TCP}
        - {name: dash-metrics, containerPort: 44227, protocol: TCP}
        - {name: driver, containerPort: 9400, protocol: TCP}
        {{- end }}
      env: {{- include "couplet.rayEnv" . | nindent 8 }}
      {{- with $envFrom }}
      envFrom: {{- . | nindent 8 }}
      {{- end }}
      resources:
        requests: {{- include "couplet.rayResources" . | nindent 10 }}
        limits: {{- include "couplet.rayResources" . | nindent 10 }}
        {{- with include "couplet.claims" $pool }}
        claims: {{- . | nindent 10 }}
        {{- end }}
      securityContext: {{- $security | nindent 8 }}
      {{- if $kept }}
      lifecycle:
        {{- $script := ternary "files/stop_run.py" "files/wait_for_learner.py" $head }}
        {{- include "couplet.preStop" (dict "root" $ "script" $script) | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: shm, mountPath: /dev/shm}
        - {name: ray-logs, mountPath: /tmp/ray}
        - {name: runs, mountPath: {{ $.Values.storage.mountPath | quote }}}
        {{- with include "couplet.redisMount" $ }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "couplet.codeMount" $ | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "couplet.recipeMount" $ }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $mounts }}
        {{- . | nindent 8 }}
        {{- end }}
    {{- with include "couplet.list" (list $ray.sidecarContainers $pool.sidecarContainers) }}
    {{- . | nindent 4 }}
    {{- end }}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $pool.sharedMemory | quote }}}
    - name: ray-logs
      emptyDir: {}
    - name: runs
      persistentVolumeClaim: {claimName: {{ include "couplet.claimName" $ }}}
    {{- with include "couplet.redisVolume" $ }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.codeVolume" $ | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.recipeVolume" $ }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.list" (list $ray.extraVolumes $pool.extraVolumes) }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Ray's object store is four fifths of /dev/shm; by default it is 30 % of the memory, and on disk if that is more than /dev/shm has. */}}
{{- define "couplet.startParams" -}}
object-store-memory: {{ include "couplet.bytes" (list .sharedMemory 80) | quote }}
{{- range $name, $value := .rayStartParams }}
{{- if has $name (list "object-store-memory" "num-cpus" "num-gpus" "resources" "dashboard-host" "metrics-export-port" "temp-dir") }}
{{- fail (printf "rayStartParams: %s is set by the chart or by KubeRay; change cpu, gpusPerPod, sharedMemory or rayResources" $name) }}
{{- end }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Worker group. Of (dict "root" $ "name" NAME "pool" POOL "min" N "max" N "resources" MAPPING). */}}
{{- define "couplet.workerGroup" -}}
{{- if gt (int .min) (int .max) -}}
{{- fail (printf "ray: worker group %s has minReplicas %d above maxReplicas %d; lower one or raise the other" .name (int .min) (int .max)) -}}
{{- end -}}
- groupName: {{ .name }}
  {{- if or (eq (int .min) (int .max)) (not .root.Values.ray.autoscaling.enabled) }}
  # Left out where the autoscaler decides it: an upgrade would set it back.
  replicas: {{ .min }}
  {{- end }}
  minReplicas: {{ .min }}
  maxReplicas: {{ .max }}
  rayStartParams: {{- include "couplet.startParams" .pool | nindent 4 }}
  {{- with .resources }}
  # Custom resources pin actors to this group; CPUs and GPUs follow from the container's limits.
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $pod := include "couplet.rayPod" (dict "root" .root "component" .name "pool" .pool) }}
  template: {{- include "couplet.unique" (list (printf "ray.%s" .name) $pod) | nindent 4 }}
{{- end -}}

{{- define "couplet.rayCluster" -}}
{{- $ray := .Values.ray -}}{{- $learner := $ray.learner -}}{{- $rollout := $ray.rollout -}}
rayVersion: {{ $ray.version | quote }}
authOptions:
  mode: {{ $ray.auth.mode }}
  {{- with $ray.auth.secretName }}
  secretName: {{ . }}
  {{- end }}
enableInTreeAutoscaling: {{ $ray.autoscaling.enabled }}
{{- if $ray.autoscaling.enabled }}
autoscalerOptions:
  idleTimeoutSeconds: {{ $ray.autoscaling.idleTimeoutSeconds }}
  upscalingMode: {{ $ray.autoscaling.upscalingMode }}
  resources:
    requests: {cpu: 250m, memory: {{ $ray.autoscaling.memory | quote }}}
    limits: {cpu: {{ $ray.autoscaling.cpu | quote }}, memory: {{ $ray.autoscaling.memory | quote }}}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
{{- end }}
{{- with $ray.gcsFaultTolerance }}{{- if .enabled }}
gcsFaultToleranceOptions:
  redisAddress: {{ required "ray.gcsFaultTolerance.redisAddress: name the Redis for Ray's head, host:port" .redisAddress | quote }}
  {{- if .password.name }}
  redisPassword:
    valueFrom:
      secretKeyRef: {name: {{ .password.name }}, key: {{ .password.key }}}
  {{- end }}
{{- end }}{{- end }}
headGroupSpec:
  serviceType: ClusterIP
  rayStartParams:
    # Actors of the run are pinned to other pods by resources of these. This keeps away whatever else asks for a CPU.
    num-cpus: "0"
    dashboard-host: 0.0.0.0
    {{- include "couplet.startParams" $ray.head | nindent 4 }}
  {{- $pod := include "couplet.rayPod" (dict "root" . "component" "head" "pool" $ray.head) }}
  template: {{- include "couplet.unique" (list "ray.head" $pod) | nindent 4 }}
workerGroupSpecs:
  {{- include "couplet.workerGroup" (dict "root" . "name" "learner" "pool" $learner "min" $learner.replicas "max" $learner.replicas "resources" (dict "learner" ($learner.ranksPerPod | toString))) | nindent 2 }}
  {{- $min := ternary $rollout.minReplicas $rollout.maxReplicas $ray.autoscaling.enabled }}
  {{- include "couplet.workerGroup" (dict "root" . "name" "rollout" "pool" $rollout "min" $min "max" $rollout.maxReplicas "resources" (dict "rollout" ($rollout.workersPerPod | toString))) | nindent 2 }}
  {{- range $name, $given := $ray.extraWorkerGroups }}
  {{- if has $name (list "head" "learner" "rollout") }}{{- fail (printf "ray.extraWorkerGroups: %s is a group of the chart's own; choose another name" $name) }}{{- end }}
  {{- $pool := merge (deepCopy $given) (dict "cpu" "4" "memory" "16Gi" "sharedMemory" "4Gi" "minReplicas" 0 "maxReplicas" 1) }}
  {{- include "couplet.workerGroup" (dict "root" $ "name" $name "pool" $pool "min" $pool.minReplicas "max" $pool.maxReplicas "resources" $pool.rayResources) | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* How long the cluster of a job that has ended stays: idle GPUs are dear. */}}
{{- define "couplet.ttlSeconds" -}}
{{- if not (kindIs "invalid" .Values.job.ttlSecondsAfterFinished) -}}
{{- .Values.job.ttlSecondsAfterFinished -}}
{{- else -}}
{{- $gpus := false -}}
{{- range concat (list .Values.ray.learner .Values.ray.rollout) (values .Values.ray.extraWorkerGroups) -}}
{{- if or .gpusPerPod .resourceClaims -}}{{- $gpus = true -}}{{- end -}}
{{- end -}}
{{- ternary 0 600 $gpus -}}
{{- end -}}
{{- end -}}
