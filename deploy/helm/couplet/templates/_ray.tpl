{{/* The Ray cluster, the same in a RayJob and a RayCluster. */}}

{{/* Environment of every Ray container. Of (dict "root" $ "head" BOOL). */}}
{{- define "couplet.rayEnv" -}}
{{- $values := .root.Values -}}
{{ include "couplet.redisEnv" .root }}
- {name: HF_HOME, value: {{ printf "%s/huggingface" $values.storage.mountPath | quote }}}
- {name: PYTHONUNBUFFERED, value: "1"}
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
{{- if .head }}
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
{{- with $values.ray.env }}
{{ toYaml . }}
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

{{/* Pod template. Of (dict "root" $ "component" NAME "pool" POOL). */}}
{{- define "couplet.rayPod" -}}
{{- $ := .root -}}{{- $ray := .root.Values.ray -}}{{- $head := eq .component "head" -}}
metadata:
  labels:
    {{- include "couplet.labels" (dict "root" $ "component" .component) | nindent 4 }}
    {{- with .pool.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .pool.annotations (not (kindIs "string" $.Values.recipe)) }}
  annotations:
    {{- if not (kindIs "string" $.Values.recipe) }}
    couplet/recipe: {{ toYaml $.Values.recipe | sha256sum | trunc 16 | quote }}
    {{- end }}
    {{- with .pool.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- if $head }}
  serviceAccountName: {{ include "couplet.serviceAccountName" $ }}
  {{- end }}
  automountServiceAccountToken: {{ and $head $ray.autoscaling.enabled }}
  # A run that is stopped writes a checkpoint first, and Ray then ends its processes.
  terminationGracePeriodSeconds: {{ ternary (add $ray.stopSeconds 60) 60 $head }}
  {{- include "couplet.imagePullSecrets" $ | nindent 2 }}
  {{- with .pool.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .pool.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $ray.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- include "couplet.placement" .pool | nindent 2 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $ray.initContainers }}
  initContainers: {{- toYaml . | nindent 4 }}
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
      env: {{- include "couplet.rayEnv" (dict "root" $ "head" $head) | nindent 8 }}
      {{- with $ray.envFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        requests: {{- include "couplet.rayResources" . | nindent 10 }}
        limits: {{- include "couplet.rayResources" . | nindent 10 }}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      {{- if $head }}
      lifecycle:
        preStop:
          exec:
            # Ray ends its processes at once when its pod ends: the run is asked first, and waited for.
            command:
              - python3
              - -c
              - {{ $.Files.Get "files/stop_run.py" | toJson }}
              - {{ $ray.stopSeconds | quote }}
      {{- end }}
      volumeMounts:
        - {name: shm, mountPath: /dev/shm}
        - {name: ray-logs, mountPath: /tmp/ray}
        - {name: runs, mountPath: {{ $.Values.storage.mountPath | quote }}}
        {{- with include "couplet.recipeMount" $ }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $ray.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $ray.sidecarContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ .pool.sharedMemory | quote }}}
    - name: ray-logs
      emptyDir: {}
    - name: runs
      persistentVolumeClaim: {claimName: {{ include "couplet.claimName" $ }}}
    {{- with include "couplet.recipeVolume" $ }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $ray.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Worker group. Of (dict "root" $ "name" NAME "pool" POOL "min" N "max" N "resources" MAPPING). */}}
{{- define "couplet.workerGroup" -}}
{{- if gt (int .min) (int .max) -}}
{{- fail (printf "ray: worker group %s has minReplicas %d above maxReplicas %d; lower one or raise the other" .name (int .min) (int .max)) -}}
{{- end -}}
- groupName: {{ .name }}
  replicas: {{ .min }}
  minReplicas: {{ .min }}
  maxReplicas: {{ .max }}
  rayStartParams: {}
  {{- with .resources }}
  # Custom resources pin actors to this group; CPUs and GPUs follow from the container's limits.
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  template: {{- include "couplet.rayPod" (dict "root" .root "component" .name "pool" .pool) | nindent 4 }}
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
    requests: {cpu: 250m, memory: 1Gi}
    limits: {cpu: "1", memory: 1Gi}
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
    # No actor on the head: it has no CPU to offer.
    num-cpus: "0"
    dashboard-host: 0.0.0.0
  template: {{- include "couplet.rayPod" (dict "root" . "component" "head" "pool" $ray.head) | nindent 4 }}
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
