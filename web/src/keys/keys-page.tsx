import { EmptyNote } from "../ui/controls";

export default function KeysPage() {
  return <EmptyNote title="Keys" />;
}
