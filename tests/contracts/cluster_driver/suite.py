"""What every driver on every cluster does. Inherited by the tests against the stand-in and against a real one."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shared.clusters import kubernetes
from shared.clusters.kubernetes import KubernetesDriver
from shared.clusters.transport import Transport
from shared.errors import ClusterConflict, ClusterRefused, ClusterUnavailable
from shared.models.deployment import ObjectReference, OwnedField
from shared.rollout.manifests import restored
from shared.rollout.owned_fields import owned_digest
from shared.rollout.verdict import State
from tests.contracts.cluster_driver.world import World, eventually

INSTANCE = "app.kubernetes.io/instance"


def container_of(live: Mapping[str, Any]) -> dict[str, Any]:
    """The one container of an object's pods."""
    found: dict[str, Any] = live["spec"]["template"]["spec"]["containers"][0]
    return found


def instance_of(document: dict[str, Any]) -> str:
    return str(document["metadata"]["labels"][INSTANCE])


def nodes_of_pods(world: World) -> set[str]:
    """Where the pods are that are not being deleted."""
    pods = world.someone.get(f"/api/v1/namespaces/{world.namespace}/pods")["items"]
    return {str(pod["spec"].get("nodeName")) for pod in pods if "deletionTimestamp" not in pod["metadata"]}


class ApplyContract:
    def test_an_apply_makes_the_namespace_and_the_object(self, world: World) -> None:
        desired = world.manifest()
        applied = world.driver.apply(desired)
        live = world.live(desired)
        assert (live["metadata"]["uid"], live["metadata"]["generation"]) == (applied.uid, applied.generation)
        assert live["spec"]["replicas"] == 2
        namespace = world.someone.get(f"/api/v1/namespaces/{world.namespace}")
        assert namespace["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "sentinel"

    def test_the_same_apply_again_changes_nothing(self, world: World) -> None:
        first = world.driver.apply(world.manifest())
        second = world.driver.apply(world.manifest())
        assert (second.uid, second.generation) == (first.uid, first.generation)

    def test_another_image_is_another_generation_of_the_same_object(self, world: World) -> None:
        first = world.driver.apply(world.manifest(1))
        second = world.driver.apply(world.manifest(2, image="fate.test/ready:2"))
        assert second.uid == first.uid
        assert second.generation > first.generation

    def test_a_late_older_revision_is_a_conflict_and_changes_nothing(self, world: World) -> None:
        world.driver.apply(world.manifest(2, image="fate.test/ready:2"))
        with pytest.raises(ClusterConflict, match="revision 2; revision 1 came too late"):
            world.driver.apply(world.manifest(1), failure="")
        live = world.live(world.manifest())
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:2"

    def test_an_object_of_someone_else_is_never_taken_over(self, world: World) -> None:
        world.driver.ensure_namespace(world.namespace)
        desired = world.manifest()
        theirs = {**desired, "metadata": {"name": "web", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}
        made = world.someone.create(world.path(desired).rpartition("/")[0], theirs)
        with pytest.raises(ClusterRefused, match="managed by Helm; rename the workload"):
            world.driver.apply(world.manifest(image="fate.test/ready:2"), failure="")
        assert world.live(desired)["spec"] == made["spec"]

    def test_an_object_of_another_workload_is_never_taken_over(self, world: World) -> None:
        first = world.manifest()
        world.driver.apply(first)
        with pytest.raises(ClusterRefused, match=f"belongs to workload {instance_of(first)}"):
            world.driver.apply(world.manifest(5, team="rivals"), failure="")
        assert instance_of(world.live(first)) == instance_of(first)

    def test_a_field_that_someone_else_owns_is_a_conflict_that_names_both(self, world: World) -> None:
        desired = world.manifest()
        world.driver.apply(desired)
        world.someone.patch(world.path(desired), {"spec": {"progressDeadlineSeconds": 77}})
        with pytest.raises(ClusterConflict, match=r'\.spec\.progressDeadlineSeconds: conflict with "kubectl-edit"'):
            world.driver.apply(world.manifest(2, image="fate.test/ready:2"))
        assert container_of(world.live(desired))["image"] == "fate.test/ready"

    def test_replicas_that_someone_else_owns_are_left_to_them(self, world: World) -> None:
        desired = world.manifest()
        world.driver.apply(desired)
        world.someone.patch(f"{world.path(desired)}/scale", {"spec": {"replicas": 1}})
        applied = world.driver.apply(world.manifest(2, image="fate.test/ready:2"))
        assert (applied.taken, applied.left) == ((), (OwnedField(".spec.replicas", "kubectl-edit"),))
        live = world.live(desired)
        assert (live["spec"]["replicas"], container_of(live)["image"]) == (1, "fate.test/ready:2")

    def test_a_rollback_takes_what_may_have_broken_a_revision_and_leaves_the_rest(self, world: World) -> None:
        desired = world.manifest(labels={"tier": "gold"})
        world.driver.apply(desired)
        container = container_of(world.live(desired))
        theirs = {**container, "image": "fate.test/image-pull", "resources": {"limits": {"cpu": "200m"}}}
        template = {"spec": {"containers": [theirs]}}
        changes = {"replicas": 1, "progressDeadlineSeconds": 77, "template": template}
        world.someone.patch(world.path(desired), {"metadata": {"labels": {"tier": "lead"}}, "spec": changes})
        applied = world.driver.apply(world.manifest(2, labels={"tier": "gold"}), failure="ImagePullBackOff")
        pod = '.spec.template.spec.containers[name="main"]'
        assert applied.taken == (OwnedField(f"{pod}.image", "kubectl-edit"),)
        assert {one.field for one in applied.left} >= {
            ".metadata.labels.tier",
            ".spec.progressDeadlineSeconds",
            ".spec.replicas",
            f"{pod}.resources.limits.cpu",
        }
        live = world.live(desired)
        assert container_of(live)["image"] == "fate.test/ready"
        assert container_of(live)["resources"]["limits"]["cpu"] == "200m"
        assert (live["spec"]["replicas"], live["metadata"]["labels"]["tier"]) == (1, "lead")
        assert live["metadata"]["annotations"]["sentinel.dev/revision"] == "2"

    def test_an_autoscaler_keeps_the_replicas_that_it_has_chosen(self, world: World) -> None:
        """Sentinel owns them no longer, so that they are nobody's but the autoscaler's to change."""
        desired = world.manifest(replicas={"min": 2, "max": 6})
        world.driver.apply(desired)
        assert world.live(desired)["spec"]["replicas"] == 2
        world.someone.patch(f"{world.path(desired)}/scale", {"spec": {"replicas": 4}})
        applied = world.driver.apply(world.manifest(2, image="fate.test/ready:2", replicas={"min": 2, "max": 6}))
        live = world.live(desired)
        assert (live["spec"]["replicas"], applied.left) == (4, ())
        owners = [entry["manager"] for entry in live["metadata"]["managedFields"] if "f:replicas" in str(entry)]
        assert "sentinel" not in owners

    @pytest.mark.parametrize(("before", "after"), [(3, 3), (1, 2), (9, 6)])
    def test_replicas_that_are_given_to_an_autoscaler_stay_until_it_changes_them(
        self, world: World, before: int, after: int
    ) -> None:
        desired = world.manifest(replicas=before, resources={"cpu": "10m"}, image="fate.test/never-ready")
        world.driver.apply(desired)
        for revision in (2, 3):
            left = {"replicas": {"min": 2, "max": 6}, "image": f"fate.test/never-ready:{revision}"}
            world.driver.apply(world.manifest(revision, **left))
            assert world.live(desired)["spec"]["replicas"] == after

    def test_a_field_that_sentinel_does_not_name_stays_with_its_owner(self, world: World) -> None:
        desired = world.manifest()
        world.driver.apply(desired)
        world.someone.patch(world.path(desired), {"metadata": {"annotations": {"example.org/note": "kept"}}})
        world.driver.apply(world.manifest(2, image="fate.test/ready:2"), failure="")
        assert world.live(desired)["metadata"]["annotations"]["example.org/note"] == "kept"

    def test_a_field_that_a_new_revision_leaves_out_is_removed(self, world: World) -> None:
        desired = world.manifest(env={"A": "1", "B": "2"})
        world.driver.apply(desired)
        world.driver.apply(world.manifest(2, env={"B": "2"}))
        container = world.live(desired)["spec"]["template"]["spec"]["containers"][0]
        assert container["env"] == [{"name": "B", "value": "2"}]

    def test_tolerations_and_node_selectors_come_change_and_go(self, world: World) -> None:
        dedicated = {"key": "dedicated", "operator": "Exists"}
        fields: list[dict[str, Any]] = [
            {"tolerations": [dedicated], "nodeSelector": {"disk": "ssd"}},
            {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"zone": "a"}},
            {},
        ]
        for revision, wanted in enumerate(fields, start=1):
            desired = world.manifest(revision, replicas=0, **wanted)
            world.driver.apply(desired)
            pod = world.live(desired)["spec"]["template"]["spec"]
            assert {name: pod[name] for name in ("tolerations", "nodeSelector") if name in pod} == wanted

    def test_tolerations_that_someone_else_changed_are_a_conflict_until_a_rollback_takes_them_back(
        self, world: World
    ) -> None:
        gpu = {"gpu": {"count": 1}}
        desired = world.manifest(resources=gpu, replicas=0)
        world.driver.apply(desired)
        theirs = {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}
        world.someone.patch(world.path(desired), {"spec": theirs})
        with pytest.raises(ClusterConflict, match=r'tolerations: conflict with "kubectl-edit"'):
            world.driver.apply(world.manifest(2, resources=gpu, replicas=0))
        world.driver.apply(world.manifest(3, resources=gpu, replicas=0), failure="")
        pod = world.live(desired)["spec"]["template"]["spec"]
        assert pod["tolerations"] == desired["spec"]["template"]["spec"]["tolerations"]

    def test_another_order_of_the_environment_arrives(self, world: World) -> None:
        for revision, names in enumerate(["AB", "BA", "CBA", "BCA"], start=1):
            desired = world.manifest(revision, env=dict.fromkeys(names, "x"), replicas=0)
            world.driver.apply(desired)
            env = world.live(desired)["spec"]["template"]["spec"]["containers"][0]["env"]
            assert [entry["name"] for entry in env] == list(names)

    def test_text_of_every_plane_arrives_as_it_was_sent(self, world: World) -> None:
        text = '"\\ \x01\x7f\x85\u2028\ufeff\uffff😀\U0010fffd \\ud83d'
        desired = world.manifest(env={"A": text}, replicas=0)
        world.driver.apply(desired)
        assert world.live(desired)["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == text

    def test_a_jobs_template_cannot_change(self, world: World) -> None:
        world.driver.apply(world.manifest(type="batch", image="fate.test/never-ready"))
        with pytest.raises(ClusterRefused, match=r"spec\.template: field is immutable"):
            world.driver.apply(world.manifest(type="batch", image="fate.test/never-ready:2"))

    def test_a_field_that_does_not_exist_is_refused(self, world: World) -> None:
        desired = world.manifest()
        desired["spec"]["replicaz"] = 3
        with pytest.raises(ClusterRefused, match="replicaz"):
            world.driver.apply(desired)

    def test_a_value_that_cannot_be_is_refused(self, world: World) -> None:
        desired = world.manifest()
        desired["spec"]["template"]["spec"]["restartPolicy"] = "Never"
        with pytest.raises(ClusterRefused, match="restartPolicy"):
            world.driver.apply(desired)


class InterruptedContract:
    def test_a_read_that_went_stale_is_repeated(self, world: World) -> None:
        desired = world.manifest()
        first = world.driver.apply(desired)
        world.transport.before_write = once(lambda: touch(world, desired))
        assert world.driver.apply(world.manifest(2)).uid == first.uid

    def test_an_object_that_never_holds_still_is_tried_later(self, world: World) -> None:
        desired = world.manifest()
        world.driver.apply(desired)
        world.transport.before_write = lambda: touch(world, desired)
        with pytest.raises(ClusterUnavailable, match="keeps changing; 5 tries"):
            world.driver.apply(world.manifest(2))

    def test_an_object_deleted_between_read_and_write_is_made_anew(self, world: World) -> None:
        desired = world.manifest()
        first = world.driver.apply(desired)
        world.transport.before_write = once(lambda: world.someone.delete(world.path(desired)))
        assert world.driver.apply(world.manifest(2)).uid != first.uid

    def test_an_object_made_by_someone_else_between_read_and_write_is_left_alone(self, world: World) -> None:
        world.driver.ensure_namespace(world.namespace)
        desired = world.manifest()
        theirs = {**desired, "metadata": {"name": "web"}}
        theirs["spec"] = {**desired["spec"], "replicas": 1}
        world.transport.before_write = once(
            lambda: world.someone.create(world.path(desired).rpartition("/")[0], theirs)
        )
        with pytest.raises(ClusterRefused, match="not managed by Sentinel"):
            world.driver.apply(desired, failure="")
        assert world.live(desired)["spec"]["replicas"] == 1

    def test_a_create_does_not_overwrite_a_newer_revision_that_came_since_the_read(self, world: World) -> None:
        world.driver.ensure_namespace(world.namespace)
        newer, other = world.manifest(2, image="fate.test/ready:2", replicas=0), KubernetesDriver(world.transport)

        world.transport.before_write = once(lambda: other.apply(newer))
        with pytest.raises(ClusterConflict, match="revision 2; revision 1 came too late"):
            world.driver.apply(world.manifest(1, replicas=0), failure="")
        live = world.live(newer)
        assert live["metadata"]["annotations"]["sentinel.dev/revision"] == "2"
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:2"

    def test_what_a_create_made_belongs_to_later_applies(self, world: World) -> None:
        world.driver.apply(world.manifest(replicas=0))
        owners = world.live(world.manifest())["metadata"]["managedFields"]
        assert [(one["manager"], one["operation"]) for one in owners if one["manager"] == "sentinel"] == [
            ("sentinel", "Apply")
        ]

    def test_a_delete_leaves_a_revision_that_is_newer_than_it_means(self, world: World) -> None:
        older, newer = world.manifest(1, replicas=0), world.manifest(2, replicas=0)
        other = KubernetesDriver(world.transport)
        world.driver.apply(older)
        world.transport.before_write = once(lambda: other.apply(newer))
        assert not world.driver.delete(world.reference(older), instance_of(older), revision=1)
        assert world.live(newer)["metadata"]["annotations"]["sentinel.dev/revision"] == "2"
        assert world.driver.delete(world.reference(newer), instance_of(newer), revision=2)

    def test_an_object_that_is_being_deleted_is_waited_for(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        world.someone.patch(world.path(desired), {"metadata": {"finalizers": ["example.org/hold"]}})
        world.someone.delete(world.path(desired))
        with pytest.raises(ClusterUnavailable, match="is being deleted"):
            world.driver.apply(world.manifest(2, replicas=0))
        world.someone.patch(world.path(desired), {"metadata": {"finalizers": None}})

    def test_a_delete_finds_the_object_that_took_its_place(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)

        def replace() -> None:
            world.someone.delete(world.path(desired))
            world.someone.create(world.path(desired).rpartition("/")[0], desired)

        world.transport.before_write = once(replace)
        assert world.driver.delete(world.reference(desired), instance_of(desired))
        assert world.driver.observe(world.reference(desired), instance_of(desired)).object is None

    def test_a_delete_that_comes_second_finds_nothing(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        world.transport.before_write = once(lambda: world.someone.delete(world.path(desired)))
        assert not world.driver.delete(world.reference(desired), instance_of(desired))


class DeleteContract:
    @pytest.mark.parametrize("kind", ["inference", "stateful", "batch"])
    def test_a_delete_takes_the_pods_along(self, world: World, kind: str) -> None:
        desired = world.manifest(type=kind, image="fate.test/never-ready")
        reference, instance = world.reference(desired), instance_of(desired)
        world.driver.apply(desired)
        eventually(lambda: world.driver.observe(reference, instance), lambda seen: seen.occupying == 2)
        assert world.driver.delete(reference, instance)
        eventually(lambda: world.driver.observe(reference, instance), lambda seen: seen.gone and not seen.pods)

    def test_deleting_what_is_not_there_says_so(self, world: World) -> None:
        desired = world.manifest()
        assert not world.driver.delete(world.reference(desired), instance_of(desired))

    def test_an_object_of_another_workload_is_not_deleted(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        with pytest.raises(ClusterRefused, match="belongs to workload"):
            world.driver.delete(world.reference(desired), instance_of(world.manifest(team="rivals")))
        assert world.live(desired)["kind"] == "Deployment"


class ObservationContract:
    def test_nothing_is_gone(self, world: World) -> None:
        desired = world.manifest()
        assert world.driver.observe(world.reference(desired), instance_of(desired)).gone
        assert world.verdict(desired).state is State.MISSING

    @pytest.mark.parametrize("kind", ["inference", "stateful"])
    def test_a_failing_revision_is_told_from_the_one_that_still_serves(self, world: World, kind: str) -> None:
        world.driver.apply(world.manifest(1, type=kind))
        world.wait_for(world.manifest(1, type=kind), State.HEALTHY)
        broken = world.manifest(2, type=kind, image="fate.test/image-pull")
        world.driver.apply(broken)
        seen = world.wait_for(broken, State.UNHEALTHY)
        assert seen.reason == "ImagePullBackOff"
        assert "fate.test/image-pull" in seen.message

    @pytest.mark.parametrize("kind", ["inference", "stateful"])
    def test_a_rollback_to_what_worked_becomes_healthy(self, world: World, kind: str) -> None:
        world.driver.apply(world.manifest(1, type=kind))
        world.wait_for(world.manifest(1, type=kind), State.HEALTHY)
        world.driver.apply(world.manifest(2, type=kind, image="fate.test/never-ready"))
        eventually(
            lambda: world.verdict(world.manifest(2, type=kind), expired=True).reason, lambda r: r == "DeadlineExceeded"
        )
        world.driver.apply(world.manifest(3, type=kind), failure="")
        world.wait_for(world.manifest(3, type=kind), State.HEALTHY)

    @pytest.mark.slow
    def test_a_crash_loop_is_seen_while_the_old_revision_is_ready(self, world: World) -> None:
        world.driver.apply(world.manifest(1))
        world.wait_for(world.manifest(1), State.HEALTHY)
        broken = world.manifest(2, image="fate.test/crash")
        world.driver.apply(broken)
        assert world.wait_for(broken, State.UNHEALTHY).reason == "CrashLoopBackOff"

    def test_a_job_runs_to_its_end(self, world: World) -> None:
        desired = world.manifest(type="training", replicas=3)
        world.driver.apply(desired)
        world.wait_for(desired, State.COMPLETED)
        assert world.driver.observe(world.reference(desired), instance_of(desired)).occupying == 0

    def test_a_job_that_fails_says_how(self, world: World) -> None:
        desired = world.manifest(type="training", image="fate.test/fail")
        world.driver.apply(desired)
        seen = world.wait_for(desired, State.UNHEALTHY)
        assert seen.reason == "JobFailed"
        assert "exit code 1" in seen.message

    def test_what_fits_no_node_is_unschedulable_in_the_schedulers_words(self, world: World) -> None:
        desired = world.manifest(resources={"gpu": {"count": 64}}, replicas=1)
        world.driver.apply(desired)
        eventually(lambda: world.verdict(desired).reason, lambda reason: reason == "Unschedulable")
        assert "Insufficient nvidia.com/gpu" in world.verdict(desired, expired=True).message

    def test_zero_replicas_are_healthy(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        assert world.wait_for(desired, State.HEALTHY).reason == "ScaledToZero"


class GpuNodeContract:
    def test_only_workloads_with_gpus_run_on_a_node_with_the_taint_of_gpu_nodes(self, world: World) -> None:
        with world.gpu_node(taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]) as node:
            there: dict[str, Any] = {"nodeSelector": {"kubernetes.io/hostname": node}}
            with_gpu = world.manifest(name="with", replicas=1, resources={"gpu": {"count": 1}}, **there)
            without = world.manifest(name="without", replicas=1, **there)
            world.driver.apply(without)
            world.driver.apply(with_gpu)
            world.wait_for(with_gpu, State.HEALTHY)
            eventually(lambda: world.verdict(without).reason, lambda reason: reason == "Unschedulable")
            assert "untolerated taint" in world.verdict(without, expired=True).message

    @pytest.mark.parametrize(
        ("product", "sku"),
        [
            ("NVIDIA-GeForce-RTX-5090", "RTX-5090"),
            ("Tesla-P4", "Tesla-P4"),
            ("NVIDIA-H100-PCIe", "nvidia-h100-pcie"),
            ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "A100-40GB-MIG-1g.5gb"),
            ("NVIDIA-L4-SHARED", "NVIDIA-L4-SHARED"),
        ],
    )
    def test_a_sku_finds_the_node_with_its_product_in_the_nodes_own_case(
        self, world: World, product: str, sku: str
    ) -> None:
        with world.gpu_node(product=product) as node:
            desired = world.manifest(replicas=1, resources={"gpu": {"count": 1, "sku": sku}})
            world.driver.apply(desired)
            world.wait_for(desired, State.HEALTHY)
            pods = world.someone.get(f"/api/v1/namespaces/{world.namespace}/pods")["items"]
            assert [pod["spec"]["nodeName"] for pod in pods] == [node]

    def test_pods_leave_a_node_that_is_excluded_and_none_comes_there(self, world: World) -> None:
        names = [node.name for node in world.driver.gpu_nodes()]
        snapshot = world.manifest(replicas=1, resources={"gpu": {"count": 1}})
        for revision, left in enumerate(names[:2], 1):
            excluded = [name for name in names if name != left]
            avoiding = restored(snapshot, plan_id=uuid.uuid4(), revision=revision, excluded=excluded)
            world.driver.apply(avoiding)
            world.wait_for(avoiding, State.HEALTHY)
            eventually(partial(nodes_of_pods, world), {left}.__eq__)

    def test_a_workload_runs_where_its_own_toleration_lets_it(self, world: World) -> None:
        with world.gpu_node(taints=[{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}]) as node:
            there: dict[str, Any] = {"nodeSelector": {"kubernetes.io/hostname": node}}
            desired = world.manifest(replicas=1, tolerations=[{"key": "dedicated", "value": "ml"}], **there)
            world.driver.apply(desired)
            world.wait_for(desired, State.HEALTHY)


class IdentityContract:
    """Somebody strips the labels by which an object is known as Sentinel's; the uid that was applied tells it."""

    def test_an_object_without_its_labels_is_still_sentinels_by_its_uid(self, world: World) -> None:
        desired = world.manifest()
        uid = world.driver.apply(desired).uid
        strip(world, desired)
        with pytest.raises(ClusterRefused, match="not managed by Sentinel"):
            world.driver.apply(world.manifest(2))
        assert world.driver.apply(world.manifest(2, image="fate.test/ready:2"), uid=uid).uid == uid
        live = world.live(desired)
        assert live["metadata"]["labels"] == desired["metadata"]["labels"]
        assert live["metadata"]["annotations"]["sentinel.dev/revision"] == "2"

    def test_the_uid_of_an_object_that_is_gone_says_nothing_of_its_successor(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        uid = world.driver.apply(desired).uid
        world.someone.delete(world.path(desired))
        theirs = {**desired, "metadata": {"name": "web"}}
        world.someone.create(world.path(desired).rpartition("/")[0], theirs)
        with pytest.raises(ClusterRefused, match="not managed by Sentinel"):
            world.driver.apply(world.manifest(2), uid=uid)
        with pytest.raises(ClusterRefused, match="not managed by Sentinel"):
            world.driver.delete(replace(world.reference(desired), uid=uid), instance_of(desired))

    def test_an_object_without_its_labels_is_deleted_by_its_uid(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        reference = replace(world.reference(desired), uid=world.driver.apply(desired).uid)
        strip(world, desired)
        assert world.driver.delete(reference, instance_of(desired))

    def test_what_was_stripped_is_restored_and_nothing_else_is_touched(self, world: World) -> None:
        desired = world.manifest(labels={"tier": "gold"})
        world.driver.apply(desired)
        world.someone.patch(world.path(desired), {"metadata": {"annotations": {"example.org/note": "kept"}}})
        world.someone.patch(f"{world.path(desired)}/scale", {"spec": {"replicas": 1}})
        strip(world, desired)
        before: dict[str, Any] = {}

        def restored() -> bool:
            before.update(world.live(desired))  # the status may change between the read and the write
            return world.driver.restore_identity(before, desired)

        eventually(restored, bool)
        after = world.live(desired)
        assert after["metadata"]["labels"] == {"tier": "gold"} | desired["metadata"]["labels"]
        kept = {"example.org/note": "kept"} | desired["metadata"]["annotations"]
        assert after["metadata"]["annotations"].items() >= kept.items()
        assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])

    def test_what_changed_since_it_was_observed_is_left_to_the_next_look(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        strip(world, desired)
        before = world.live(desired)
        touch(world, desired)
        assert not world.driver.restore_identity(before, desired)
        world.someone.delete(world.path(desired))
        assert not world.driver.restore_identity(before, desired)


class ManyContract:
    """Many objects are observed by one LIST a kind, and each as if it had been observed alone."""

    def test_many_are_observed_as_each_alone(self, world: World) -> None:
        manifests = [
            world.manifest(name="ready"),
            world.manifest(name="waits", image="fate.test/never-ready"),
            world.manifest(name="set", type="stateful", image="fate.test/never-ready"),
            world.manifest(name="job", type="batch", image="fate.test/never-ready"),
            world.manifest(name="other-job", type="batch", image="fate.test/never-ready"),
        ]
        for desired in manifests:
            world.driver.apply(desired)
        for desired in manifests:
            expected = 0 if desired["metadata"]["name"] == "ready" else 2
            eventually(lambda w=desired: world.observe(w), lambda seen, n=expected: len(seen.pods) == n)  # type: ignore[misc]
        eventually(lambda: world.observe(manifests[0]), lambda seen: not seen.pods_seen)
        absent = world.manifest(name="absent")
        every = [*manifests, absent]
        many = world.driver.observe_many([world.observed(desired) for desired in every])
        for desired, found in zip(every, many, strict=True):
            alone = world.observe(desired)
            assert not isinstance(found, ClusterRefused)
            assert found.pods_seen == alone.pods_seen
            assert (found.object or {}).get("kind") == (alone.object or {}).get("kind")
            assert names(found.pods) == names(alone.pods)
            assert names(found.replica_sets) == names(alone.replica_sets)

    def test_many_of_one_kind_cost_one_request_and_one_for_the_pods(self, world: World) -> None:
        manifests = [world.manifest(name=f"job-{n}", type="batch", image="fate.test/never-ready") for n in range(4)]
        for desired in manifests:
            world.driver.apply(desired)
        for desired in manifests:
            eventually(lambda w=desired: world.observe(w), lambda seen: len(seen.pods) == 2)  # type: ignore[misc]
        world.transport.requests = 0
        many = world.driver.observe_many([world.observed(desired) for desired in manifests])
        assert [len(found.pods) for found in many if not isinstance(found, ClusterRefused)] == [2, 2, 2, 2]
        assert world.transport.requests == 2

    def test_one_without_labels_is_seen_among_many(self, world: World) -> None:
        manifests = [world.manifest(name=name, replicas=0) for name in ("one", "two", "three")]
        uid = [world.driver.apply(desired) for desired in manifests][1].uid
        strip(world, manifests[1])
        many = world.driver.observe_many([world.observed(desired) for desired in manifests])
        assert [isinstance(found, ClusterRefused) or found.object is None for found in many] == [False] * 3
        assert not isinstance(many[1], ClusterRefused)
        assert many[1].object is not None
        assert many[1].object["metadata"]["uid"] == uid

    def test_one_that_is_refused_hides_no_other(self, world: World) -> None:
        desired = world.manifest(replicas=0)
        world.driver.apply(desired)
        hidden = replace(world.observed(desired), reference=replace(world.reference(desired), name="../.."))
        refused, found = world.driver.observe_many([hidden, world.observed(desired)])
        assert isinstance(refused, ClusterRefused)
        assert not isinstance(found, ClusterRefused)


class RefusedPodsContract:
    def test_what_is_managed_is_listed_page_by_page_as_it_was_applied(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kubernetes, "_PAGE", 2)
        manifests = [world.manifest(name=f"web-{number}") for number in range(3)]
        digests = [world.driver.apply(desired).digest for desired in manifests]
        other = {**world.manifest(name="other"), "metadata": {"name": "other", "labels": {}}}
        world.someone.create(world.path(manifests[0]).rpartition("/")[0], other)
        first = world.driver.list_managed("Deployment", world.namespace, "")
        second = world.driver.list_managed("Deployment", world.namespace, first.next_token)
        assert (len(first.objects), len(second.objects), second.next_token) == (2, 1, "")
        listed = [*first.objects, *second.objects]
        assert names(listed) == ["web-0", "web-1", "web-2"]
        assert [owned_digest(desired, live) for desired, live in zip(manifests, listed, strict=True)] == digests
        assert world.driver.list_managed("Job", world.namespace, "").objects == ()

    def test_a_controller_that_cannot_create_pods_says_why(self, world: World) -> None:
        desired = world.manifest(type="batch")
        world.driver.ensure_namespace(world.namespace)
        suspended = {**desired, "spec": {**desired["spec"], "suspend": True}}
        live = world.someone.create(world.path(desired).rpartition("/")[0], suspended)
        refuse(world, live, "exceeded quota: q, requested: cpu=4, used: cpu=0, limited: cpu=1")
        refuse(world, {**live, "metadata": {**live["metadata"], "uid": "of-another"}}, "said of another object")
        verdict = world.verdict(desired)
        assert (verdict.state, verdict.reason) == (State.PROGRESSING, "FailedCreate")
        assert verdict.message.startswith("exceeded quota: q")
        world.someone.patch(world.path(desired), {"spec": {"suspend": False}})
        eventually(lambda: world.observe(desired), lambda seen: len(seen.pods) == 2 and not seen.refusals)


class ClusterContract:
    def test_a_namespace_is_made_once(self, world: World) -> None:
        world.driver.ensure_namespace(world.namespace)
        world.driver.ensure_namespace(world.namespace)
        assert world.someone.get(f"/api/v1/namespaces/{world.namespace}")["kind"] == "Namespace"

    def test_gpus_are_counted_by_sku(self, world: World) -> None:
        gpus = world.driver.gpus()
        assert gpus
        assert all(count > 0 for count in gpus.values())

    def test_gpu_nodes_have_the_product_of_their_label(self, world: World) -> None:
        with world.gpu_node(product="NVIDIA-GeForce-RTX-6090"):
            assert "NVIDIA-GeForce-RTX-6090" in {node.product for node in world.driver.gpu_nodes()}

    def test_a_namespace_that_cannot_be_is_refused(self, world: World) -> None:
        with pytest.raises(ClusterRefused, match="UPPER"):
            world.driver.ensure_namespace("UPPER")

    def test_a_path_that_is_not_served_is_not_mistaken_for_an_absent_object(self, world: World) -> None:
        elsewhere = KubernetesDriver(
            Transport("test", replace(world.connection, server=f"{world.connection.server}/x"), loopback=True)
        )
        with pytest.raises((ClusterRefused, ClusterUnavailable), match="404"):
            elsewhere.observe(ObjectReference("Deployment", world.namespace, "web"), "some-instance")

    def test_credentials_that_are_not_taken_may_yet_be(self, world: World) -> None:
        stranger = KubernetesDriver(Transport("test", replace(world.connection, token="not-the-token"), loopback=True))
        with pytest.raises(ClusterUnavailable, match="401"):
            stranger.gpus()


def once(act: Any) -> Any:
    """`act`, the first time only."""
    left = [act]
    return lambda: left.pop()() if left else None


def strip(world: World, document: dict[str, Any]) -> None:
    """Somebody removes all labels and annotations that Sentinel has written."""
    meta = document["metadata"]
    gone = {part: dict.fromkeys(meta[part]) for part in ("labels", "annotations")}
    gone["labels"].pop("tier", None)
    world.someone.patch(world.path(document), {"metadata": gone})


def refuse(world: World, live: dict[str, Any], message: str) -> None:
    """An Event as a controller writes it when it could not create a pod."""
    meta = live["metadata"]
    about = {"kind": live["kind"], "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
        "involvedObject": about,
        "reason": "FailedCreate",
        "message": message,
        "type": "Warning",
        "lastTimestamp": "2026-03-01T12:00:00Z",
    }
    world.someone.create(f"/api/v1/namespaces/{meta['namespace']}/events", event)


def names(items: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(item["metadata"]["name"]) for item in items)


def touch(world: World, document: dict[str, Any]) -> None:
    """A write that changes nothing that matters, as status updates do all the time."""
    world.someone.patch(world.path(document), {"metadata": {"annotations": {"example.org/at": str(next(_TOUCHES))}}})


_TOUCHES = iter(range(10**9))
